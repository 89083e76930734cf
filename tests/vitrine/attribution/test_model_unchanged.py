"""Every method leaves the model bit-equal: after success, after an error at any pass, and under threads."""

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from vitrine.attribution.registry import all_methods

METHODS = {name: kind for name, kind in all_methods().items() if name != "Center"}
IMAGES = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))


class Running(nn.Module):
    """Subtracts a running mean that it updates at every pass, in evaluation too."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(6))

    def forward(self, maps: Tensor) -> Tensor:
        with torch.no_grad():
            self.mean.mul_(0.5).add_(0.5 * maps.mean(dim=(0, 2, 3)))
        return maps - self.mean[:, None, None]


class Merging(nn.Conv2d):
    """Merges an update into its weight in evaluation, with the rounding that this brings."""

    def __init__(self) -> None:
        super().__init__(6, 6, 1)
        self.update = nn.Parameter(torch.randn(6, 6, 1, 1) / 3)
        self.is_merged = False

    def train(self, mode: bool = True) -> "Merging":
        super().train(mode)
        if mode == self.is_merged:
            self.weight.data += -self.update if mode else self.update
            self.is_merged = not mode
        return self

    def forward(self, maps: Tensor) -> Tensor:
        return F.conv2d(maps, self.weight if self.is_merged else self.weight + self.update, self.bias)


class Failing(nn.Module):
    """Raises at a pass of a given number; 0 for none."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number, self.count = number, 0

    def forward(self, maps: Tensor) -> Tensor:
        self.count += 1
        if self.count == self.number:
            raise ArithmeticError("at this pass")
        return maps


MIDDLES: dict[str, Callable[[], nn.Module]] = {
    "plain": nn.Identity,
    "norm": lambda: nn.BatchNorm2d(6),
    "dropout": nn.Dropout2d,
    "merging": Merging,
    "running": Running,
    "in place": lambda: nn.ReLU(inplace=True),
    "recurrent": lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(6, 6, 1)),
}


@st.composite
def networks(draw: st.DrawFn) -> nn.Sequential:
    """Networks whose modules are in any modes, with any parameters frozen, and gradients at some."""
    torch.manual_seed(draw(st.integers(0, 5)))
    middle = [MIDDLES[name]() for name in draw(st.lists(st.sampled_from(sorted(MIDDLES)), min_size=1, max_size=2))]
    failing = Failing(draw(st.sampled_from([0, 0, 1, 2, 3])))
    body = [nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), failing, *middle, nn.Conv2d(6, 6, 1), nn.ReLU()]
    layers = nn.Sequential(*body)
    network = nn.Sequential(layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    network.train(draw(st.booleans()))
    for module in layers:
        module.train(draw(st.booleans()))
    for parameter in network.parameters():
        parameter.requires_grad_(draw(st.booleans()))
        if draw(st.booleans()):
            parameter.grad = torch.ones_like(parameter)
    return network


def state_of(network: nn.Module) -> dict[str, Any]:
    """All that a call may not change."""
    parameters = dict(network.named_parameters())
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "tensors": {
            **copy.deepcopy(dict(network.named_buffers())),
            **{k: v.detach().clone() for k, v in parameters.items()},
        },
        "identities": [id(tensor) for tensor in (*parameters.values(), *network.buffers())],
        "gradients": {name: None if p.grad is None else p.grad.clone() for name, p in parameters.items()},
        "trainable": [parameter.requires_grad for parameter in parameters.values()],
        "modes": [module.training for module in network.modules()],
        "merged": [getattr(module, "is_merged", None) for module in network.modules()],
        "hooks": [[len(getattr(module, hook)) for hook in hooks] for module in network.modules()],
        "random": torch.get_rng_state(),
    }


def check_same(before: Any, after: Any) -> None:
    if isinstance(before, dict):
        assert before.keys() == after.keys()
        for key in before:
            check_same(before[key], after[key])
    elif isinstance(before, Tensor):
        assert torch.equal(before, after)
    else:
        assert before == after


def explain(name: str, network: nn.Module, images: Tensor) -> None:
    kind = METHODS[name]
    method = kind(network, "0", **kind.quick_options)
    with suppress(ValueError, ArithmeticError):  # some methods refuse some of the networks
        if kind.explains_classes:
            method.attribute(images, 1)
        else:
            method.attribute(images, channel=1)


@pytest.mark.parametrize("name", sorted(METHODS))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(network=networks(), threads=st.sampled_from([1, 1, 3]))
def test_the_model_is_bit_equal_before_and_after(name: str, network: nn.Module, threads: int) -> None:
    before = state_of(network)
    if threads == 1:
        explain(name, network, IMAGES)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda _: explain(name, network, IMAGES[:1]), range(threads)))
    check_same(before, state_of(network))
