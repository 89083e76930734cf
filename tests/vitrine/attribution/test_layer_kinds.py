"""Kinds of layers, and along which dimension of their outputs the filters lie."""

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.convnext import LayerNorm2d
from torchvision.ops import FrozenBatchNorm2d, Permute

from vitrine.attribution.layer_kinds import counts_as_layer, filter_axis, is_leaf, kind_of

SIZE = torch.Size([3, 224, 224])


class GemPool2d(nn.Module):
    """A pooling that is not torch's own."""


class PooledHead(nn.Sequential):
    """It has ``Pool`` in its name, and submodules."""


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        (nn.Conv2d(3, 4, 3), "conv"),
        (nn.ConvTranspose2d(3, 4, 3), "conv"),
        (nn.MaxPool2d(2), "pool"),
        (nn.AdaptiveAvgPool2d(1), "pool"),
        (GemPool2d(), "pool"),
        (PooledHead(nn.ReLU()), "other"),
        (nn.BatchNorm2d(4), "norm"),
        (FrozenBatchNorm2d(4), "norm"),
        (nn.GroupNorm(2, 4), "norm"),
        (LayerNorm2d(4), "norm"),
        (nn.Linear(3, 4), "linear"),
        (nn.ReLU(), "activation"),
        (nn.MultiheadAttention(4, 2), "activation"),
        (nn.Dropout(), "other"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else value,
)
def test_kinds(module: nn.Module, kind: str) -> None:
    assert kind_of(module) == kind


def test_what_counts_computes_something_in_eval_mode() -> None:
    for module in (nn.Conv2d(3, 4, 3), nn.ReLU(), nn.LayerNorm(4)):
        assert is_leaf(module)
        assert counts_as_layer(module)
    for other in (nn.Identity(), nn.Dropout2d(), nn.Flatten(), Permute([0, 2, 1]), nn.Sequential(nn.ReLU())):
        assert not counts_as_layer(other)


@pytest.mark.parametrize(
    ("modules", "shape", "axis"),
    [
        ([nn.Linear(4, 8)], (1, 8), 1),
        ([nn.Conv2d(3, 8, 3)], (1, 8, 8, 8), 1),
        ([nn.Linear(4, 8)], (1, 7, 7, 8), 3),
        ([nn.LayerNorm(8)], (1, 50, 8), 2),
        ([nn.LayerNorm(8)], (1, 7, 7, 8), 3),
        ([LayerNorm2d(8)], (1, 8, 7, 7), 1),
        ([nn.ReLU()], (1, 50, 8), 2),
        ([nn.ReLU()], (1, 8, 7, 7), 1),
        ([nn.ReLU()], (1, 7, 7, 32), 3),
        ([nn.ReLU(), nn.Conv2d(3, 7, 3)], (1, 7, 7, 8), 1),
    ],
    ids=lambda value: "x".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_the_dimension_of_the_filters(modules: list[nn.Module], shape: tuple[int, ...], axis: int) -> None:
    assert filter_axis(modules, torch.Size(shape), SIZE) == axis


def test_a_layers_own_output_has_its_filters_there() -> None:
    images = torch.rand(1, 3, 8, 8)
    layers: list[tuple[nn.Module, Tensor]] = [
        (nn.Conv2d(3, 5, 3), images),
        (nn.Linear(3, 5), images.permute(0, 2, 3, 1)),
        (nn.Linear(3, 5), images.flatten(2).mT),
    ]
    for layer, inputs in layers:
        output = layer(inputs)
        assert output.shape[filter_axis([layer], output.shape, torch.Size([3, 8, 8]))] == 5
