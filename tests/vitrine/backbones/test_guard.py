import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from vitrine.backbones.guard import eval_guard, guarded_once
from vitrine.backbones.model_parts import ModelParts, parts_of


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


class Writing(nn.Module):
    """Writes to a buffer from its pass of a given number on."""

    def __init__(self, begins: int) -> None:
        super().__init__()
        self.passes: torch.Tensor
        self.register_buffer("passes", torch.zeros(()))
        self.linear, self.begins, self.calls = nn.Linear(2, 2), begins, [0]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls[0] += 1
        if self.calls[0] >= self.begins:
            self.passes += 1
        return self.linear(images) + self.passes


def guarded_pass(model: nn.Module) -> torch.Tensor:
    with eval_guard(model), torch.no_grad():
        output: torch.Tensor = model(torch.ones(1, 2))
    return output


def test_many_passes_of_a_model_that_is_known_not_to_write_are_guarded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, looked = Writing(begins=1000).train(), list[nn.Module]()
    guarded_pass(model)

    def looking(one: nn.Module) -> ModelParts:
        looked.append(one)
        return parts_of(one)

    monkeypatch.setattr("vitrine.backbones.guard.parts_of", looking)
    state = torch.get_rng_state()
    with guarded_once(model):
        before, outputs = len(looked), [guarded_pass(model) for _ in range(3)]
        assert len(looked) == before
        assert not model.linear.weight.requires_grad
    assert torch.equal(outputs[0], outputs[2])
    assert model.training
    assert model.linear.weight.requires_grad
    assert torch.equal(torch.get_rng_state(), state)
    guarded_pass(model)
    assert len(looked) > before  # afterwards each pass is guarded by itself again


def test_a_model_that_begins_to_write_among_many_passes_is_put_back_and_told() -> None:
    model = Writing(begins=3)
    guarded_pass(model)

    def many() -> None:
        with guarded_once(model):
            for _ in range(4):
                guarded_pass(model)

    with pytest.raises(ValueError, match=r"Writing wrote to its buffers in one of many passes"):
        many()
    assert not model.passes
    many()  # from now on each pass is guarded by itself
    assert not model.passes


def test_a_model_that_writes_or_is_not_known_is_guarded_at_each_pass() -> None:
    model = Writing(begins=1)
    with guarded_once(model):
        outputs = [guarded_pass(model) for _ in range(3)]
    assert torch.equal(outputs[0], outputs[2])
    assert not model.passes


def test_random_numbers_of_a_pass_do_not_depend_on_the_passes_before() -> None:
    model = nn.Sequential(nn.Linear(2, 2), Noisy())
    guarded_pass(model)
    with guarded_once(model):
        assert torch.equal(guarded_pass(model), guarded_pass(model))


class Noisy(nn.Module):
    """Draws random numbers in evaluation too."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs + torch.rand_like(inputs)


def test_an_error_within_many_passes_leaves_no_guard_behind() -> None:
    model = Writing(begins=1000).train()
    guarded_pass(model)
    with pytest.raises(RuntimeError, match="within"), guarded_once(model):
        fail_plainly()
    assert model.training
    assert model.linear.weight.requires_grad


def fail_plainly() -> None:
    raise RuntimeError("within")
