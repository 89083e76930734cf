import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from vitrine.backbones.guard import eval_guard
from vitrine.backbones.taps import captured, resolve_layer


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(), nn.Flatten())
    model[1].eval()
    model[0].bias.requires_grad_(False)  # noqa: FBT003 - its only argument
    model[0].weight.grad = torch.ones(4, 3, 3, 3)
    return model.append(nn.Linear(16, 2))


def use(model: nn.Module) -> None:
    output = model(torch.rand(2, 3, 4, 4, requires_grad=True))
    assert not model.training
    assert not any(module.training for module in model.modules())
    output.sum().backward()
    torch.rand(3)


def fail(model: nn.Module) -> None:
    use(model)
    raise RuntimeError("within")


@pytest.mark.parametrize("action", [use, fail])
def test_the_model_and_the_random_state_are_as_before(
    network: nn.Sequential, action: Callable[[nn.Module], None]
) -> None:
    state = {name: value.clone() for name, value in network.state_dict().items()}
    training = [module.training for module in network.modules()]
    required = [parameter.requires_grad for parameter in network.parameters()]
    grad, random = network[0].weight.grad, torch.get_rng_state()
    try:
        with eval_guard(network):
            action(network)
    except RuntimeError:
        assert action is fail
    assert [module.training for module in network.modules()] == training
    assert [parameter.requires_grad for parameter in network.parameters()] == required
    assert network[0].weight.grad is grad
    torch.testing.assert_close(grad, torch.ones(4, 3, 3, 3))
    assert all(parameter.grad is None for parameter in list(network.parameters())[1:])
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_a_gradient_given_within_is_taken_back(network: nn.Sequential) -> None:
    with eval_guard(network):
        network[5].weight.grad = torch.ones(2, 16)
    assert network[5].weight.grad is None


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
