"""Images whose insertion and deletion curves are known."""

import torch
from torch import Tensor, nn

SIZE = (4, 5)


PIXELS = 20


def linear(images: Tensor) -> Tensor:
    """Two logits: the sum over all pixels of the first channel, and 0. The probability of class 0 is its sigmoid."""
    total = images[:, 0].sum(dim=(1, 2))
    return torch.stack([total, torch.zeros_like(total)], dim=1)


def shuffled(seed: int) -> Tensor:
    """(4, 5) float64 with twenty different values from -0.5 to 0.45."""
    order = torch.randperm(PIXELS, generator=torch.Generator().manual_seed(seed))
    return (order.double().reshape(SIZE) - 10) / 20


IMAGES = torch.stack([torch.stack([shuffled(3 * row + channel) for channel in range(3)]) for row in range(3)])


MAPS = IMAGES[:, 0]


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(24, 3))
