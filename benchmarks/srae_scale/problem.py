"""Problem of the scale benchmark: settings, features that a layer might give with logits, and a network of that size."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vitrine.core.batch import Batch

PLAIN = "one by one"
FLOAT32 = "float32"
BFLOAT16 = "bf16"
SHARED = "shared"
WAYS = {
    PLAIN: "a module a class, fitted one after the other in plain PyTorch with Adam as it comes",
    FLOAT32: "SRAEModule, groups of classes, float32",
    BFLOAT16: "SRAEModule, groups of classes, bf16-mixed",
    SHARED: "SRAEModule, all classes on one trunk, float32",
}


@dataclass(frozen=True)
class Settings:
    """Sizes of the problem and of the heads, the same for every way to fit them.

    Args:
        features: d, size of Z.
        hidden: widths of the encoders between Z and the x-features.
        trunk_hidden: the same of the shared trunk, whose last layer all classes read.
        num_features: n, a class.
        rows: N, training samples.
        held_out: samples that faithfulness is measured on.
        rank: dimensions of what lies behind Z.
        batch_size: samples a step.
        at_once: classes that SRAEModule fits together.
        device: ``cpu`` or ``cuda``.
        seed: of problem, order and heads.
    """

    features: int = 4096
    hidden: tuple[int, ...] = (800, 100)
    trunk_hidden: tuple[int, ...] = (800, 400)
    num_features: int = 5
    rows: int = 1024
    held_out: int = 512
    rank: int = 32
    batch_size: int = 64
    at_once: int = 16
    device: str = "cpu"
    seed: int = 0

    beta: float = 5.0
    eta: float = 0.5
    q: float = 1.0
    decay: float = 1e-5
    lr: float = 1e-3


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


class Net(nn.Module):
    """A layer ``features`` of d ReLUs, and C logits on it.

    Args:
        features: d.
        num_classes: C.
    """

    def __init__(self, features: int, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(3, features), nn.ReLU())
        self.classifier = nn.Linear(features, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, C)."""
        logits: Tensor = self.classifier(self.features(image.mean(dim=(2, 3))))
        return logits
