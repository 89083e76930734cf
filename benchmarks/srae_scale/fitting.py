"""Fits the same heads twice: one module for each class in plain PyTorch, and `SRAEModule` with a Lightning trainer."""

import gc
from collections.abc import Sequence
from itertools import pairwise

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.optim import Adam
from typing_extensions import override

from benchmarks.common import quiet_trainer, silent_lightning
from benchmarks.rounds import now
from benchmarks.srae_scale.problem import BFLOAT16, SHARED, Batches, Settings
from lightning_modules import SRAEModule
from vitrine.backbones.networks import BackboneOptions
from vitrine.explainers.srae.explainer import SRAEOptions
from vitrine.explainers.srae.objectives import SRAETraining


class PlainHead(nn.Module):
    """Encoder d → 800 → 100 → n, its mirror, and a linear predictor.

    Args:
        settings: the sizes.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        widths = [settings.features, *settings.hidden, settings.num_features]
        self.encoder = nn.Sequential(*_layers(widths), nn.ReLU())
        self.decoder = nn.Sequential(*_layers(widths[::-1]))
        self.predictor = nn.Linear(settings.num_features, 1, bias=False)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, n) x-features E, (B, d) what the decoder makes of them, and (B,) ȳ, of Z (B, d)."""
        embedding = self.encoder(features)
        return embedding, self.decoder(embedding), self.predictor(embedding).squeeze(1)


def _layers(widths: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(widths):
        layers += [nn.Linear(wide, narrow), nn.ReLU()]
    return layers[:-1]


def equation_5(head: PlainHead, features: Tensor, logit: Tensor, settings: Settings) -> Tensor:
    """The paper's loss of one head, without the norms of the weights, which the optimizer adds."""
    embedding, decoded, estimate = head(features)
    faithful = (estimate - logit).square().mean()
    errors = (decoded - features).square().mean(dim=0)
    reconstruction = (1 + settings.q * errors).log().mean()
    unit = normalize(embedding, dim=0)
    squared_cosines = (unit.T @ unit).square()
    n = settings.num_features
    pull_away = (squared_cosines.sum() - squared_cosines.trace()) / max(n * (n - 1), 1)
    loss: Tensor = faithful + settings.beta * reconstruction + settings.eta * pull_away
    return loss


def fit_plain(heads: Sequence[PlainHead], classes: Sequence[int], batches: Batches, settings: Settings) -> float:
    """Fits each head on its class, and gives the seconds of its whole passes, summed over heads."""
    seconds = 0.0
    for head, column in zip(heads, classes, strict=True):
        optimizer = torch.optim.Adam(head.parameters(), lr=settings.lr, weight_decay=2 * settings.decay)
        for _ in range(batches.period):
            timed = batches.is_whole(batches.begun)
            started = now(settings.device)
            for batch in batches:
                optimizer.zero_grad()
                loss = equation_5(head, batch["features"], batch["logits"][:, column], settings)
                torch.autograd.backward(loss)
                optimizer.step()
            seconds += timed * (now(settings.device) - started)
        optimizer.zero_grad()
    return seconds


def made_heads(count: int, settings: Settings) -> list[PlainHead]:
    """Heads with PyTorch's own initial weights."""
    return [PlainHead(settings).to(settings.device) for _ in range(count)]


class PassTimer(pl.Callback):
    """Seconds of whole passes.

    Args:
        batches: what is passed over.
        device: to wait for.
    """

    def __init__(self, batches: Batches, device: str) -> None:
        self.batches, self.device = batches, device
        self.started = self.seconds = 0.0

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started = now(self.device)

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.batches.is_whole(trainer.current_epoch):
            self.seconds += now(self.device) - self.started


def made_module(way: str, classes: int, explained: Sequence[int], settings: Settings) -> SRAEModule:
    """Heads of the explained ones of C classes."""
    return SRAEModule(
        BackboneOptions(
            "benchmarks.srae_scale.problem:Net", arguments={"features": settings.features, "num_classes": classes}
        ),
        SRAEOptions(
            "features",
            "none",
            list(explained),
            settings.num_features,
            image_size=8,
            hidden=settings.trunk_hidden if way == SHARED else settings.hidden,
            trunk="shared" if way == SHARED else "separate",
        ),
        SRAETraining(
            beta=settings.beta,
            eta=settings.eta,
            q=settings.q,
            encoder_decay=settings.decay,
            decoder_decay=settings.decay,
            predictor_decay=settings.decay,
            classes_at_once=None if way == SHARED else settings.at_once,
        ),
        optimizer=lambda parameters: Adam(parameters, lr=settings.lr, fused=True),
        lr_scheduler=None,
    )


def fit_ours(module: SRAEModule, way: str, batches: Batches, settings: Settings) -> float:
    """Fits all heads, group after group, and gives the seconds of whole passes, summed over groups."""
    timer = PassTimer(batches, settings.device)
    with silent_lightning():  # of the missing validation, and of heads that a few steps leave degenerate
        accelerator = "gpu" if settings.device == "cuda" else "cpu"
        precision = "bf16-mixed" if way == BFLOAT16 else "32-true"
        trainer = quiet_trainer(batches.period, accelerator, precision=precision, callbacks=[timer])
        trainer.fit(module, batches)
    del trainer
    gc.collect()  # trainer and module hold each other; the next fit needs the memory of this one's gradients and moments
    return timer.seconds
