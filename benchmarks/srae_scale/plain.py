"""The paper's heads as one would write them down: a module a class, one fitted after the other."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from benchmarks.srae_scale.clock import now
from benchmarks.srae_scale.problem import Batches
from benchmarks.srae_scale.settings import Settings


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
