"""The same heads by `SRAEModule` and a Lightning trainer."""

import gc
import logging
import warnings
from collections.abc import Sequence

import pytorch_lightning as pl
from torch.optim import Adam
from typing_extensions import override

from benchmarks.srae_scale.clock import now
from benchmarks.srae_scale.problem import Batches
from benchmarks.srae_scale.settings import BFLOAT16, SHARED, Settings
from lightning_modules import SRAEModule
from vitrine.backbones.networks import BackboneOptions
from vitrine.explainers.srae.explainer import SRAEOptions
from vitrine.explainers.srae.objectives import SRAETraining


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
            "benchmarks.srae_scale.network:Net", arguments={"features": settings.features, "num_classes": classes}
        ),
        SRAEOptions(
            "features",
            "none",
            list(explained),
            settings.num_features,
            image_size=8,
            hidden=settings.hidden,
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
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the missing validation, and of heads that a few steps leave degenerate
        trainer = pl.Trainer(
            accelerator="gpu" if settings.device == "cuda" else "cpu",
            devices=1,
            precision="bf16-mixed" if way == BFLOAT16 else "32-true",
            max_epochs=batches.period,
            callbacks=[timer],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, batches)
    del trainer
    gc.collect()  # trainer and module hold each other; the next fit needs the memory of this one's gradients and moments
    return timer.seconds
