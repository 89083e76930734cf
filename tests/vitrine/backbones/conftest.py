"""Images, and a network with everything that a forward pass may change."""

import pytest
import torch
from torch import Tensor, nn


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(), nn.Flatten())
    model[1].eval()
    model[0].bias.requires_grad_(False)  # noqa: FBT003 - its only argument
    model[0].weight.grad = torch.ones(4, 3, 3, 3)
    return model.append(nn.Linear(16, 2))
