"""Functions of one value that are combined with the value itself."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vitrine.attribution.autograd.calls import Call
from vitrine.attribution.autograd.elementwise import edge_of, rectifies_itself, shared_value, sources

X = torch.linspace(-2, 2, 6).view(1, 2, 3).requires_grad_()


def test_sources_are_where_elementwise_functions_end() -> None:
    value, other = X.flip(2), X.roll(1)
    one, two = (sources(edge_of(x)) for x in (2 * value.tanh() + 1, value * other))
    assert one.is_bent
    assert not two.is_bent
    assert len(one.edges) == 1
    assert len(two.edges) == 2
    assert one.edges < two.edges
    assert sources(edge_of(value)).edges == one.edges


@pytest.mark.parametrize(
    ("function", "other", "expected"),
    [
        (torch.mul, lambda x: x.sigmoid(), True),
        (torch.mul, lambda x: (1.702 * x).sigmoid(), True),
        (torch.mul, lambda x: 1 + torch.erf(x / 2**0.5), True),
        (torch.mul, lambda x: torch.nn.functional.relu6(x + 3) / 6, True),
        (torch.div, lambda x: 1 + (-x).exp(), True),
        (torch.add, lambda x: x.abs(), True),
        (torch.sub, lambda x: x.clamp(max=0), True),
        (torch.add, lambda x: 2 * x, False),
        (torch.maximum, lambda x: 0.1 * x, True),
        (torch.mul, lambda x: x.mean(2, keepdim=True).sigmoid(), False),
        (torch.mul, lambda x: x.roll(1).sigmoid(), False),
        (torch.maximum, lambda x: x.roll(1), False),
        (torch.mul, lambda x: x, False),
        (torch.atan2, lambda x: x.abs(), False),
    ],
)
def test_what_can_be_a_rectifier(
    function: Callable[..., Tensor], other: Callable[[Tensor], Tensor], expected: bool
) -> None:
    value = X.flip(2)
    for operands in ((value, other(value)), (other(value), value)):
        assert rectifies_itself(Call(function, operands, {})) is expected


def test_what_lies_below_the_shared_value_does_not_count() -> None:
    value = X.flip(2).relu()
    assert not rectifies_itself(Call(torch.add, (value, 2 * value), {}))
    assert not rectifies_itself(Call(torch.mul, (value, value.square()), {}))
    assert rectifies_itself(Call(torch.add, (value, (2 * value).abs()), {}))
    shared = shared_value(edge_of(value + 1), edge_of(2 * value))
    assert shared is not None
    assert len(shared.edges) == 1


def test_halves_of_one_tensor_are_two_values() -> None:
    first, second = (X * 1).reshape(1, 6).chunk(2, dim=1)
    assert not rectifies_itself(Call(torch.mul, (first, second.sigmoid()), {}))
    assert not rectifies_itself(Call(torch.maximum, (first, second), {}))
