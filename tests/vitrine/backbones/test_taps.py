"""Outputs of named layers, collected during a forward pass."""

import re

import pytest
import torch
from torch import Tensor, nn

from vitrine.backbones.guard import eval_guard
from vitrine.backbones.taps import captured, resolve_layer


def test_captured_outputs_are_those_before_the_inplace_relu(network: nn.Sequential) -> None:
    inputs = torch.rand(2, 3, 4, 4)
    with eval_guard(network), captured(network, ["0", "1"]) as kept:
        network(inputs)
        expected = network[0](inputs)
    torch.testing.assert_close(kept["0"], expected)
    assert kept["1"].min() < 0


def test_without_a_clone_the_inplace_relu_shows(network: nn.Sequential) -> None:
    with eval_guard(network), captured(network, ["1"], clone=False) as kept:
        network(torch.rand(2, 3, 4, 4))
    assert kept["1"].min() == 0


def test_captured_keeps_the_last_output_of_a_reused_layer() -> None:
    double = nn.Linear(1, 1, bias=False)
    nn.init.constant_(double.weight, 2)
    model = nn.Sequential(double, double)
    with captured(model, ["0"]) as kept:
        model(torch.ones(1, 1))
    assert kept["0"].item() == 4


def test_captured_outputs_are_in_the_graph(network: nn.Sequential) -> None:
    inputs = torch.rand(1, 3, 4, 4, requires_grad=True)
    with captured(network, ["0"]) as kept:
        network(inputs)
    kept["0"].sum().backward()
    assert inputs.grad is not None


def test_hooks_are_gone_after_success_and_after_an_error(network: nn.Sequential) -> None:
    with captured(network, ["0", "5"]):
        network(torch.rand(2, 3, 4, 4))
    with pytest.raises(RuntimeError), captured(network, ["0", "5"]):
        network(torch.rand(2, 4, 4, 4))
    with pytest.raises(ValueError, match="no layer"), captured(network, ["0", "6"]):
        pass
    assert not any(module._forward_hooks for module in network.modules())


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Identity()
        self.splitter = nn.ModuleDict({"inner": nn.MaxPool2d(2, return_indices=True)})
        self.unused = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        pooled: Tensor = self.splitter["inner"](self.features(images))[0]
        return pooled


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("feature", "no layer 'feature'; near names: features"),
        ("splitter.inner", "'splitter.inner' gives a tuple, not a tensor"),
        ("unused", "'unused' gave no output"),
    ],
)
def test_captured_names_what_is_wrong_with_a_layer(layer: str, message: str) -> None:
    model = Pair()
    with pytest.raises(ValueError, match=re.escape(message)), captured(model, [layer]):
        model(torch.rand(1, 1, 4, 4))


def test_resolve_layer_takes_names_and_submodules() -> None:
    model = Pair()
    assert resolve_layer(model, "splitter.inner") == "splitter.inner"
    assert resolve_layer(model, model.splitter["inner"]) == "splitter.inner"
    with pytest.raises(ValueError, match=r"near names: splitter\.inner"):
        resolve_layer(model, "spliter.iner")
    with pytest.raises(ValueError, match="Linear is not a submodule of the Pair"):
        resolve_layer(model, nn.Linear(1, 1))
