"""A network and images for the sanity check."""

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.sanity_models import Tangled


@pytest.fixture
def network() -> nn.Module:
    """As if trained: statistics, biases and scales are no longer those of a new network."""
    torch.manual_seed(0)
    model = Tangled()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean, module.running_var = torch.randn(6) / 4, torch.rand(6) + 0.5
    nn.init.normal_(model.last_norm.weight, 1, 0.2)
    nn.init.normal_(model.last_norm.bias, 0, 0.2)
    return model.train()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(5, 3, 9, 9, generator=torch.Generator().manual_seed(1))
