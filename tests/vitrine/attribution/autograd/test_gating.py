"""Rectifiers in spellings that no rule recognises are refused; masks and gates of ordinary networks are not."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrine.attribution.autograd.gating import GatingInterception
from vitrine.attribution.autograd.rules import guided_rules

X = torch.linspace(-2, 3, 12).view(2, 6)
ZERO = torch.zeros(())
Function = Callable[[Tensor], Any]


def run(function: Function) -> Tensor:
    """The function of an input, after its check."""
    leaf = X.clone().requires_grad_()
    x = leaf.clone()
    with GatingInterception(guided_rules(), "Guided") as interception:
        output = function(x)
    interception.check(output)
    return torch.as_tensor(output)


class Own(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        return x.clamp(min=0)

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def set_by_mask(x: Tensor) -> Tensor:
    x[x < 0] = 0
    return x


def set_by_mask_in_a_view(x: Tensor) -> Tensor:
    view = x[:, :4]
    view[view < 0] = 0
    return x


@torch.jit.script
def scripted_(x: Tensor) -> Tensor:
    return torch.relu_(x)


def scripted_in_a_view(x: Tensor) -> Tensor:
    scripted_(x[:, :4])
    return x


def set_by_index(x: Tensor) -> Tensor:
    places = torch.where(x > 0)
    canvas = torch.zeros_like(x)
    canvas[places] = x[places]
    return canvas


def by_written_mask(x: Tensor) -> Tensor:
    mask = torch.zeros_like(x)
    mask[:, 1:][x[:, 1:] > 0] = 1
    return x * mask


def mask_without_gradient(x: Tensor) -> Tensor:
    with torch.no_grad():
        mask = (x > 0).type_as(x)
    return x * mask


def changed_without_gradient(x: Tensor) -> Tensor:
    with torch.no_grad():
        x.clamp_(min=0)
    return x


def changed_when_detached(x: Tensor) -> Tensor:
    x.detach().view(-1).clamp_(min=0)
    return x


def changed_data(x: Tensor) -> Tensor:
    x.data = x.data.clamp(min=0)
    return x


HIDDEN: dict[str, tuple[Function, str]] = {
    "where": (lambda x: torch.where(x > 0, x, ZERO), "where"),
    "where, the other way": (lambda x: x.where(~(x <= 0), 0), "where"),
    "masked_fill": (lambda x: x.masked_fill(x < 0, 0), "masked_fill"),
    "masked_fill_": (lambda x: x.masked_fill_(x < 0, 0), "masked_fill_"),
    "times a mask": (lambda x: x * (x > 0), "mul"),
    "times a mask of numbers": (lambda x: x.mul_((x.detach() >= 0).float()), "mul"),
    "times heaviside": (lambda x: torch.heaviside(x.detach(), ZERO) * x, "mul"),
    "times its sign": (lambda x: x * (x.sign() + 1) / 2, "mul"),
    "mask without gradient": (mask_without_gradient, "mul"),
    "written mask": (by_written_mask, "mul"),
    "mask by lookup": (lambda x: x * torch.eye(2)[1][(x > 0).long()], "mul"),
    "addcmul": (lambda x: torch.addcmul(ZERO, x, (x > 0).float()), "addcmul"),
    "setitem": (set_by_mask, "__setitem__"),
    "setitem in a view": (set_by_mask_in_a_view, "__setitem__"),
    "set by index": (set_by_index, "__setitem__"),
    "index_put_": (lambda x: x.index_put_((x < 0,), ZERO), "index_put_"),
    "straight through": (lambda x: x + (x.relu() - x).detach(), "add"),
    "straight through without gradient": (lambda x: x - F.threshold(x.detach(), -9, 0).clamp(max=0), "sub"),
    "half of x + |x|": (lambda x: (x + x.abs()) / 2, "add"),
    "x − min(x, 0)": (lambda x: x - x.clamp(max=0), "sub"),
    "−min(−x, 0)": (lambda x: -torch.minimum(-x, ZERO), "minimum"),
    "clamp with bounds of which one is 0": (lambda x: x.clamp(min=torch.arange(6.0)), "clamp"),
    "leaky by a maximum": (lambda x: torch.maximum(x, 0.1 * x), "maximum"),
    "maximum of a stack": (lambda x: torch.stack([x, torch.zeros_like(x)]).amax(0), "amax"),
    "choice from a stack": (
        lambda x: torch.stack([torch.zeros_like(x), x]).gather(0, (x > 0).long()[None])[0],
        "gather",
    ),
    "SiLU by hand": (lambda x: x * x.sigmoid(), "mul"),
    "x times another bend of it": (lambda x: x * x.tanh(), "mul"),
    "hardswish by hand": (lambda x: x * F.relu6(x + 3) / 6, "mul"),
    "shrinkage": (F.softshrink, "softshrink"),
    "list of tensors": (lambda x: torch._foreach_clamp_min([x], 0)[0], "foreach"),
    "own function": (Own.apply, "OwnBackward"),
    "traced": (torch.jit.trace(nn.ReLU(), X), "ReluBackward0"),
    "scripted, in a view": (scripted_in_a_view, "CopySlices"),
    "vmap": (torch.func.vmap(F.relu), "ReluBackward0"),
    "no gradient": (changed_without_gradient, "clamp_"),
    "detached": (changed_when_detached, "clamp_"),
    "data": (changed_data, "data"),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_a_hidden_rectifier_is_named(name: str) -> None:
    function, operator = HIDDEN[name]
    with pytest.raises(ValueError, match=rf"Guided .*{operator}.*torch\.nn\.functional"):
        run(function)


def attention(x: Tensor, mask: Tensor, fill: float) -> Tensor:
    scores = (x[:, :, None] @ x[:, None]).masked_fill(mask, fill).softmax(2)
    return scores @ x[:, :, None]


def pooled_gate(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x.mean(1, keepdim=True) @ torch.ones(1, 6))


def noted(x: Tensor) -> Tensor:
    """Computes what is not used."""
    (x * (x > 0)).abs().max()
    with torch.no_grad():
        x.clone().clamp_(min=0)
    return x.relu()


def token_selection(x: Tensor) -> Tensor:
    return x.gather(1, x.topk(3, dim=1).indices)


ORDINARY: dict[str, Function] = {
    "mask of positions": lambda x: attention(x, torch.ones(6, 6).triu(1) > 0, -100.0),
    "mask of low fills": lambda x: attention(x, (x[:, None] < 0).expand(2, 6, 6), -torch.inf),
    "where with a constant condition": lambda x: torch.where(torch.arange(6) > 2, x, 0),
    "times constants": lambda x: x * torch.tensor([0.0, 1.0, 2.0, -1.0, 0.0, 3.0]),
    "gate of the mean": pooled_gate,
    "gate of the other half": lambda x: F.glu(x) * x[:, 3:].tanh(),
    "residual sum": lambda x: x + F.linear(x.relu(), torch.eye(6)),
    "squared": lambda x: torch.cat([x * x, x.relu().square()]),
    "layer norm by hand": lambda x: (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True) + 1e-5).sqrt(),
    "clamp at another bound": lambda x: x.clamp(min=1e-6).pow(3).mean(1),
    "maximum of halves": lambda x: torch.maximum(x[:, :3], x[:, 3:]),
    "maximum over positions": lambda x: x.max(1).values + x.amax(1),
    "normalised": lambda x: F.normalize(x, dim=1),
    "zeros of its shape": lambda x: x + torch.zeros_like(x) + x.new_zeros(6),
    "selected by rank": token_selection,
    "what is not used": noted,
    "a detached branch": lambda x: x + x.detach() + F.linear(x, torch.eye(6)).relu().detach(),
    "rounded straight through": lambda x: x + (x.round() - x).detach(),
    "dropout": lambda x: F.dropout(x, training=False),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_operators_keep_their_gradient(name: str) -> None:
    leaf = X.clone().requires_grad_()
    expected = ORDINARY[name](leaf * 1)
    torch.testing.assert_close(run(ORDINARY[name]), expected)


def test_an_operator_of_others_is_refused() -> None:
    library = torch.library.Library("vitrine_test", "DEF")
    library.define("rectify(Tensor x) -> Tensor")
    library.impl("rectify", lambda x: x.clamp(min=0), "CompositeImplicitAutograd")
    with pytest.raises(ValueError, match=r"no rule for vitrine_test\.rectify"):
        run(torch.ops.vitrine_test.rectify)
