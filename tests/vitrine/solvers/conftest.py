"""Problems that the solvers are tested on."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

Problem = tuple[Tensor, Tensor]


def gaussian(samples: int, filters: int, classes: int, seed: int = 0) -> Problem:
    """Random responses (N, m), and labels (N, C) that a few of them make, with noise."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, filters, dtype=torch.float64, generator=generator)
    truth = torch.randn(filters, classes, dtype=torch.float64, generator=generator)
    truth[max(filters // 10, 2) :] = 0
    noise = torch.randn(samples, classes, dtype=torch.float64, generator=generator)
    return x, x @ truth + noise / 2


def responses(samples: int, filters: int, classes: int, seed: int = 0) -> Problem:
    """Responses as those of a network, and one-hot labels.

    Non-negative and correlated, each of two layers with sum 1; a filter of the first is dead, and the last one of the
    second is like one of the first.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (samples,), generator=generator)
    labels[:classes] = torch.arange(classes)
    typical = torch.rand(classes, filters, dtype=torch.float64, generator=generator)
    hidden = torch.randn(samples, 4, dtype=torch.float64, generator=generator)
    mixed = hidden @ torch.randn(4, filters, dtype=torch.float64, generator=generator)
    noise = torch.randn(samples, filters, dtype=torch.float64, generator=generator)
    x = (typical[labels] + 0.4 * mixed + 0.2 * noise + 0.3).relu()
    x[:, 1] = 0
    x[:, -1] = x[:, 2]
    first, second = x.split([filters // 2, filters - filters // 2], dim=1)
    x = torch.cat([layer / layer.sum(dim=1, keepdim=True).clamp(min=1e-12) for layer in (first, second)], dim=1)
    return x, torch.nn.functional.one_hot(labels, classes).double()


@pytest.fixture
def make_gaussian() -> Callable[..., Problem]:
    return gaussian


@pytest.fixture
def make_responses() -> Callable[..., Problem]:
    return responses
