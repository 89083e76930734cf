"""Alternatives to a method that refuses a network: each is tried on that network."""

import pytest
import torch
from torch import nn

from vitrine.attribution.alternatives import working_method
from vitrine.attribution.registry import method_named
from vitrine.backbones.guard import eval_guard

NETWORKS = {
    "GradCAM": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
    "Saliency": lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3)),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_the_named_method_works(name: str) -> None:
    model, images = NETWORKS[name]().eval(), torch.rand(1, 3, 8, 8)
    with eval_guard(model):
        assert working_method(model, images) == name
    assert method_named(name)(model).attribute(images).isfinite().all()
