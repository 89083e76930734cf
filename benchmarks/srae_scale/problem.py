"""Features as a layer might give them, logits that depend on them, and batches of both."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.srae_scale.settings import Settings
from vitrine.core.batch import Batch


class Samples(NamedTuple):
    """N samples."""

    features: Tensor
    """(N, d) Z ≥ 0."""
    logits: Tensor
    """(N, C)."""

    def to(self, device: str) -> "Samples":
        """On a device."""
        return Samples(self.features.to(device), self.logits.to(device))


class Problem(NamedTuple):
    """What heads are fitted on, and what they are measured on."""

    train: Samples
    held_out: Samples


def made_problem(settings: Settings, classes: int) -> Problem:
    """Z = relu(U Vᵀ + noise) of low rank, and logits that grow with some directions of U and not with others.

    The first columns of the logits are the same for every number of classes.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    count = settings.rows + settings.held_out
    behind = torch.randn(count, settings.rank, generator=generator)
    spread = torch.randn(settings.rank, settings.features, generator=generator) * settings.rank**-0.5
    noise = torch.randn(count, settings.features, generator=generator)
    features = (behind @ spread + 0.2 * noise).relu()
    drawn = [torch.randn(2, settings.rank, generator=generator) for _ in range(classes)]
    directions = torch.stack(drawn) * settings.rank**-0.5
    for_it, against = (behind @ directions.unbind(dim=1)[side].T for side in (0, 1))
    logits = 4 * for_it.relu() - 2 * against.relu()
    train, held_out = (
        Samples(features[rows], logits[rows]).to(settings.device)
        for rows in (slice(settings.rows), slice(settings.rows, None))
    )
    return Problem(train, held_out)


class Batches:
    """Passes over the samples in an order that the seed and the number of the pass give.

    Every so many passes, one begins that only warms up: a few batches, from which a new optimizer has its state.

    Args:
        samples: to be batched.
        settings: batch size and seed.
        epochs: whole passes after each that warms up.
        warm: batches of those; none without it.
        steps: the most batches of a whole pass.
    """

    def __init__(
        self, samples: Samples, settings: Settings, epochs: int = 1, warm: int = 0, steps: int | None = None
    ) -> None:
        self.samples, self.settings = samples, settings
        self.period = epochs + bool(warm)
        self.warm, self.steps = warm, steps
        self.begun = 0

    def is_whole(self, number: int) -> bool:
        """Whether a pass is more than a warm-up."""
        return not self.warm or number % self.period > 0

    def __iter__(self) -> Iterator[Batch]:
        number, self.begun = self.begun, self.begun + 1
        generator = torch.Generator().manual_seed(self.settings.seed + number % self.period)
        shuffled = torch.randperm(len(self.samples.features), generator=generator)
        order = torch.split(shuffled, self.settings.batch_size)
        for rows in order[: self.steps if self.is_whole(number) else self.warm]:
            chosen = rows.to(self.samples.features.device)
            logits = self.samples.logits[chosen]
            yield Batch(
                key=[str(row) for row in rows.tolist()],
                features=self.samples.features[chosen],
                logits=logits,
                label=logits.argmax(dim=1),
            )
