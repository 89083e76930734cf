"""Operators that run by a rule: their value stays, their backward pass is another, and what has no rule is named."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrine.attribution.autograd.calls import Call
from vitrine.attribution.autograd.interception import Interception, StrictInterception, backward_of, walk, with_backward


def tripling(call: Call) -> Any:
    """Three times the gradient of the identity."""
    return with_backward(call, lambda signal: (3 * signal,), call.operand)


def gradient(model: Any, rules: Any) -> tuple[Tensor, Tensor, Interception]:
    leaf = torch.tensor([-1.0, 2.0], requires_grad=True)
    with Interception(rules) as interception:
        output = model(leaf * 1)
    (arrived,) = torch.autograd.grad(output.sum(), leaf)
    return output.detach(), arrived, interception


@pytest.mark.parametrize("relu", [F.relu, nn.ReLU(), nn.ReLU(inplace=True), lambda x: x.relu_(), torch.relu])
def test_a_rule_changes_the_way_back_and_not_the_value(relu: Any) -> None:
    output, arrived, interception = gradient(relu, {"relu": tripling})
    assert output.tolist() == [0, 2]
    assert arrived.tolist() == [3, 3]
    assert interception.applied == {"relu"}


VIEWS: dict[str, Any] = {
    "slice": lambda x: x[:, 1:],
    "permute": lambda x: x.permute(1, 0),
    "view": lambda x: x.view(-1),
    "diagonal": lambda x: x.diagonal(),
    "view of a view": lambda x: x.t()[1:],
    "step": lambda x: x[:, ::2],
}


@pytest.mark.parametrize(
    "rectify", [lambda x: x.relu_(), nn.ReLU(inplace=True), lambda x: torch.clamp(x, min=0, out=x)]
)
@pytest.mark.parametrize("name", VIEWS)
def test_a_rule_on_a_view_holds_for_its_base(name: str, rectify: Any) -> None:
    leaf = torch.linspace(-1, 1, 9).view(3, 3).requires_grad_()
    base = leaf * 1
    with Interception({"relu": tripling, "clamp": tripling}):
        rectify(VIEWS[name](base))
    is_written = torch.zeros(3, 3)
    VIEWS[name](is_written).fill_(1)
    expected = torch.where(is_written > 0, leaf.relu(), leaf)
    torch.testing.assert_close(base, expected)
    (arrived,) = torch.autograd.grad(base.sum(), leaf)
    torch.testing.assert_close(arrived, 1 + 2 * is_written)


def test_a_view_used_after_its_base_was_changed() -> None:
    leaf = torch.tensor([[-1.0, 2.0]], requires_grad=True)
    base = leaf * 1
    view = base.t()
    with Interception({"relu": tripling}):
        F.relu(base, inplace=True)
    assert torch.autograd.grad(view.sum(), leaf)[0].tolist() == [[3, 3]]


def test_a_view_that_autograd_cannot_write_to_is_an_error() -> None:
    base = torch.ones(2, 2, requires_grad=True) * 1
    with Interception({"relu": tripling}), pytest.raises(ValueError, match=r"relu_ writes to a view"):
        base.chunk(2)[0].relu_()


def test_what_goes_to_out_is_connected() -> None:
    leaf, out = torch.tensor([-1.0, 2.0], requires_grad=True), torch.empty(0)
    with Interception({"clamp": tripling}):
        torch.clamp(leaf * 1, min=0, out=out)
    assert out.tolist() == [0, 2]
    assert torch.autograd.grad(out.sum(), leaf)[0].tolist() == [3, 3]


def test_without_a_rule_the_gradient_is_autograds() -> None:
    _, arrived, interception = gradient(F.relu, {"tanh": tripling})
    assert arrived.tolist() == [0, 1]
    assert not interception.applied
    _, arrived, interception = gradient(F.relu, {"relu": lambda _: NotImplemented})
    assert arrived.tolist() == [0, 1]
    assert not interception.applied


def test_constants_and_passes_without_gradients_run_as_they_are() -> None:
    with Interception({"relu": tripling}) as interception:
        F.relu(torch.ones(2))
        F.relu(torch.ones(2, requires_grad=True))  # a parameter is a leaf, and does not depend on the input
        with torch.no_grad():
            F.relu(torch.ones(2, requires_grad=True) * 1)
    assert not interception.applied


def test_several_operands_and_one_that_gets_nothing() -> None:
    one, two = (torch.ones(2, requires_grad=True) for _ in range(2))
    output = with_backward(lambda: one + two, lambda signal: (5 * signal, None), one, two)
    gradients = torch.autograd.grad(output.sum(), [one, two], allow_unused=True)
    assert gradients[0].tolist() == [5, 5]
    assert gradients[1] is None or not gradients[1].any()


def strict(model: Any, rules: Any, structural: Any = ("flatten",)) -> None:
    x = with_backward(lambda: torch.ones(2, 3), lambda signal: (signal,), torch.ones(2, 3, requires_grad=True))
    with StrictInterception(rules, structural, "cpu", "Excitation") as interception:
        output = model(x)
    interception.check(output)


def test_all_operators_need_a_rule_or_to_be_structural() -> None:
    strict(lambda x: F.relu(x).flatten(), {"relu": tripling})
    with pytest.raises(ValueError, match=r"Excitation has no rule for .*sigmoid"):
        strict(lambda x: torch.sigmoid(F.relu(x)), {"relu": tripling})
    with pytest.raises(ValueError, match=r"Excitation has no rule for .*flatten"):
        strict(lambda x: F.relu(x).flatten(), {"relu": tripling}, structural=())


def test_an_operator_beside_the_way_needs_no_rule() -> None:
    def model(x: Tensor) -> Tensor:
        torch.sigmoid(x)
        return F.relu(x)

    strict(model, {"relu": tripling})


def test_in_strict_passes_halves_are_widened() -> None:
    seen = []

    def rule(call: Call) -> Any:
        seen.append(call.operand.dtype)
        return tripling(call)

    x = torch.ones(2, dtype=torch.bfloat16, requires_grad=True) * 1
    with StrictInterception({"relu": rule}, (), "cpu", "Excitation"):
        F.relu(x)
    assert seen == [torch.float32]


def test_a_walk_visits_each_node_once_and_stops_at_ends() -> None:
    leaf = torch.ones(2, requires_grad=True)
    middle = leaf * 2
    output = middle + middle.exp()
    nodes = list(walk([output.grad_fn, None]))
    assert len(nodes) == len(set(nodes)) == 4
    below = list(walk([output.grad_fn], lambda node: node is middle.grad_fn))
    assert middle.grad_fn in below
    assert len(below) == 3


def test_a_node_says_whether_its_way_back_is_its_own() -> None:
    leaf = torch.ones(2, requires_grad=True)
    custom = with_backward(lambda: leaf * 1, lambda signal: (signal,), leaf)
    assert backward_of(custom.grad_fn) is not None
    assert backward_of((leaf * 2).grad_fn) is None
    assert backward_of(None) is None
