"""Synthetic filter responses like those of a network: heavy-tailed, correlated, of one sum a layer, of labelled classes."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

WIDTHS = (64, 64, 64, 256, 128, 128, 512, 256, 256, 1024, 512, 512, 2048)
"""Of the layers, in turns, until all filters have one: those of a ResNet-50."""
LATENT = 64
CLASS_SHARE = 0.5
"""Of the variance of what responses have in common, what the class explains."""
NOISE = 0.6
TAIL = 0.8
"""Standard deviation of a response's logarithm, within a layer."""


@dataclass(frozen=True)
class SyntheticResponses:
    """Log-normal responses: exp of a few latent factors, some of which the class moves, and of noise of each filter's own.

    Args:
        filters: m.
        classes: C.
        seed: of all that is random.
    """

    filters: int
    classes: int
    seed: int = 0

    def batches(self, samples: int, size: int = 2048, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """(size, m) float32 responses, of which those of a layer add up to 1, and (size, C) labels; the last are fewer.

        Each batch has random numbers of its own, so that one can go on from any ``first`` sample that begins a batch.
        """
        generator = torch.Generator().manual_seed(self.seed)
        loadings = torch.randn(LATENT, self.filters, generator=generator) / LATENT**0.5
        centres = torch.randn(self.classes, LATENT, generator=generator) * CLASS_SHARE**0.5
        for start in range(first, samples, size):
            generator.manual_seed(self.seed + 1 + start)
            labels = torch.randint(self.classes, (min(size, samples - start),), generator=generator)
            own = torch.randn(len(labels), LATENT, generator=generator) * (1 - CLASS_SHARE) ** 0.5
            responses = torch.randn(len(labels), self.filters, generator=generator).mul_(NOISE)
            responses.addmm_(centres[labels] + own, loadings, beta=1).mul_(TAIL).exp_()
            for layer in torch.split(responses, self.widths(), dim=1):
                layer.div_(layer.sum(dim=1, keepdim=True))
            yield responses, torch.nn.functional.one_hot(labels, self.classes)

    def widths(self) -> list[int]:
        """Filters of each layer."""
        widths: list[int] = []
        while sum(widths) < self.filters:
            widths.append(min(WIDTHS[len(widths) % len(WIDTHS)], self.filters - sum(widths)))
        return widths
