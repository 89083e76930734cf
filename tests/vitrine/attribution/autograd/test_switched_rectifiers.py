"""Rectifiers with a backward pass that is chosen late, against those with one that is chosen on the way forward."""

import pytest
import torch
from torch import Tensor, nn

from vitrine.attribution.autograd.gating import GatingInterception
from vitrine.attribution.autograd.interception import Interception
from vitrine.attribution.autograd.rules import deconvnet_rules, guided_rules
from vitrine.attribution.autograd.switched_rectifiers import CannotBeSwitched, SwitchedRectifiers

KINDS = [
    nn.ReLU(),
    nn.ReLU(inplace=True),
    nn.ReLU6(),
    nn.LeakyReLU(0.1),
    nn.GELU(),
    nn.SiLU(),
    nn.Hardswish(),
    nn.ELU(),
]
KINDS += [nn.Softplus(), nn.Mish(), nn.PReLU(4), nn.Threshold(0.1, 0.0)]


def net(rectifier: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), rectifier, nn.Conv2d(4, 4, 3), rectifier, nn.Flatten(), nn.Linear(64, 5)]
    return nn.Sequential(*layers).double().requires_grad_(requires_grad=False)


def pixels() -> Tensor:
    return torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind).replace(" ", ""))
def test_equals_the_rules_of_each_and_the_gradient(kind: nn.Module) -> None:
    model, x, switched = net(kind), pixels(), SwitchedRectifiers()
    with GatingInterception(switched.rules(), "A test") as interception:
        logits = model(x.clone())
    interception.check(logits)
    cotangent = torch.randn(logits.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    def back(output: Tensor) -> Tensor:
        (signal,) = torch.autograd.grad(output, x, cotangent, retain_graph=True)
        return signal

    found = {"gradient": back(logits)}
    for rule in ("guided", "deconvnet"):
        with switched.by_rule(rule):
            found[rule] = back(logits)
    for name, rules in (("gradient", {}), ("guided", guided_rules()), ("deconvnet", deconvnet_rules())):
        with Interception(rules):
            expected = back(model(x.clone()))
        torch.testing.assert_close(found[name], expected, rtol=0, atol=1e-12, msg=name)
        torch.testing.assert_close(back(logits), found["gradient"], rtol=0, atol=0)
    assert not torch.equal(found["guided"], found["deconvnet"])


class MaximumWith0(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(x, torch.zeros(()).to(x))


class Swish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * (1.7 * x).sigmoid()


@pytest.mark.parametrize("kind", [MaximumWith0(), Swish()], ids=lambda kind: type(kind).__name__)
def test_what_cannot_be_switched_says_so(kind: nn.Module) -> None:
    with pytest.raises(CannotBeSwitched), GatingInterception(SwitchedRectifiers().rules(), "A test"):
        net(kind)(pixels().clone())


def test_an_unknown_rule() -> None:
    switched = SwitchedRectifiers()
    with pytest.raises(ValueError, match="rule is 'lrp'; give 'guided' or 'deconvnet'"), switched.by_rule("lrp"):
        pass
