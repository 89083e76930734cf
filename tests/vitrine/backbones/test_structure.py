import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from vitrine.backbones.guard import eval_guard
from vitrine.backbones.outputs import logits_given
from vitrine.backbones.structure import has_hooks, structure


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.pool, self.spare = nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1)
        self.sizes, self.options, self.lock = [1, 2], {"skip": True}, threading.Lock()
        self.kept = torch.ones(2)

    def forward(self, x: Tensor) -> Tensor:
        self.kept = self.body(x)
        return self.pool(self.kept).flatten(1)


def swap(net: Net) -> None:
    net.pool, net.spare = net.spare, net.pool  # type: ignore[assignment]


CHANGES: dict[str, Callable[[Net], object]] = {
    "eps": lambda net: setattr(net.body[1], "eps", 1e-3),
    "activation": lambda net: net.body.append(nn.GELU()),
    "flag of an activation": lambda net: setattr(net.body[2], "inplace", False),
    "stride": lambda net: setattr(net.body[0], "stride", (2, 2)),
    "two modules swapped": swap,
    "entry of a list": lambda net: net.sizes.append(3),
    "entry of a dict": lambda net: net.options.update(skip=False),
    "another object": lambda net: setattr(net, "lock", threading.Lock()),
    "mode": lambda net: net.body[1].train(),
    "type": lambda net: net.half(),
    "no statistics": lambda net: setattr(net.body[1], "running_mean", None),
    "no bias": lambda net: setattr(net.body[0], "bias", None),
    "forward": lambda net: setattr(net, "forward", lambda x: x),
    "class": lambda net: setattr(net.pool, "__class__", nn.AdaptiveMaxPool2d),
    "new module": lambda net: net.add_module("more", nn.Identity()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen(change: str) -> None:
    net = Net().eval()
    before = structure(net)
    assert structure(net) == before
    CHANGES[change](net)
    after = structure(net)
    assert after != before
    assert after == structure(net)


def test_passes_weights_and_hooks_are_no_changes() -> None:
    net = Net().eval()
    before = structure(net)
    with eval_guard(net):
        net(torch.rand(1, 3, 4, 4))
    net.body.get_parameter("0.weight").data.mul_(2)
    net.register_forward_hook(lambda *_: None)
    assert structure(net) == before


def test_scripts_have_one() -> None:
    with pytest.warns(FutureWarning, match="jit"):
        script = torch.jit.script(nn.Sequential(nn.ReLU()))
    assert structure(script) == structure(script)


def test_hooks_of_the_guard_do_not_count() -> None:
    net = Net()
    assert not has_hooks(net)
    with eval_guard(net), logits_given(net):
        assert net._forward_hooks
        assert not has_hooks(net)
        with net.register_forward_hook(lambda *_: None):
            assert has_hooks(net)
    with net.register_full_backward_hook(lambda *_: None):
        assert has_hooks(net)
