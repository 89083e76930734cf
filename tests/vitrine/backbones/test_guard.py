import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from vitrine.backbones.guard import eval_guard


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


def test_without_freezing_parameters_start_without_a_gradient_and_drop_theirs(network: nn.Sequential) -> None:
    required = [parameter.requires_grad for parameter in network.parameters()]
    grad = network[0].weight.grad
    with eval_guard(network, freeze=False):
        assert [parameter.requires_grad for parameter in network.parameters()] == required
        assert all(parameter.grad is None for parameter in network.parameters())
        use(network)
        assert network[5].weight.grad is not None
    assert network[0].weight.grad is grad
    torch.testing.assert_close(grad, torch.ones(4, 3, 3, 3))
    assert all(parameter.grad is None for parameter in list(network.parameters())[1:])


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002, S311 - the global ones


def seed() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - the global one
    torch.manual_seed(0)


def draw_and_fail() -> None:
    draws()
    raise RuntimeError("within")


def test_random_numbers_of_python_and_numpy_are_kept_where_asked_for(network: nn.Sequential) -> None:
    seed()
    expected = draws()
    seed()
    with eval_guard(network, every_generator=True):
        draws()
    with pytest.raises(RuntimeError), eval_guard(network, every_generator=True):
        draw_and_fail()
    assert draws() == expected
    seed()
    with eval_guard(network):
        draws()
    assert draws()[:2] != expected[:2]
