"""Operators that pass mass unchanged, and what tensors are below them."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.helpers.naive_excitation import Function, all_maps, weighted
from vitrine.attribution.autograd.interception import backward_of
from vitrine.attribution.excitation.gates import ExcitationInterception, GateMarks
from vitrine.attribution.excitation.passing import Activation, Gate, backward_below, is_computed_from, origin
from vitrine.attribution.excitation.rules import excitation_rules

pytestmark = pytest.mark.usefixtures("doubles")

FUNCTIONS: dict[str, Function] = {
    "erf": torch.erf,
    "square": torch.square,
    "power": lambda x: x**3.0,
    "float_power": lambda x: x.float_power(2),
    "power of a parameter": lambda x: x.pow(torch.full((1,), 3.0)),
    "root": lambda x: (x + 1).sqrt(),
    "generalised mean": lambda x: (x.clamp(min=1e-6).pow(3) * 2).pow(1 / 3),
    "logarithm": torch.log1p,
    "abs": lambda x: x.abs(),
    "softshrink": F.softshrink,
    "nan_to_num": lambda x: x.nan_to_num(),
    "maximum with a constant": lambda x: torch.maximum(x, torch.zeros(())),
    "minimum with a constant": lambda x: torch.minimum(torch.ones(2), x),
    "ELU by hand": lambda x: torch.where(x > 0, x, x.exp() - 1),
    "masked_fill": lambda x: x.masked_fill(x < 0, 0),
    "log-sum-exp of one": lambda x: x[None].logsumexp(0),
    "dropout by keyword": lambda x: torch.dropout(x, p=0.5, train=False),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_elementwise_functions_pass_mass_unchanged(name: str) -> None:
    x = torch.rand(1, 2, 2, 2) + 0.1
    torch.testing.assert_close(
        all_maps(lambda images: FUNCTIONS[name](weighted(images)), x), torch.eye(4).repeat(2, 1).view(8, 2, 2)
    )


SELECTED: dict[str, Function] = {
    "maximum of two": lambda x: torch.maximum(x[:, :1], x[:, 1:]),
    "amax": lambda x: x.amax(1),
    "max along a dimension": lambda x: x.max(dim=1).values,
    "topk": lambda x: x.topk(1, dim=1).values,
    "sort": lambda x: x.sort(dim=1, descending=True).values[:, 0],
    "gather": lambda x: x.gather(1, x.argmax(1, keepdim=True)),
    "take_along_dim": lambda x: torch.take_along_dim(x, x.argmax(1, keepdim=True), 1),
    "where": lambda x: torch.where(x[:, 0] > x[:, 1], x[:, 0], x[:, 1]),
    "index": lambda x: x[:, x[0].argmax(0).flatten(), torch.arange(2).repeat_interleave(2), torch.arange(2).repeat(2)],
}


@pytest.mark.parametrize("name", SELECTED)
def test_selected_values_get_the_mass(name: str) -> None:
    x = torch.rand(1, 2, 2, 2)
    weights = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])

    def forward(images: Tensor) -> Tensor:
        """Channels that read the first and the last pixel of channel 0 alone, as (1, 2, 2, 2) maps of one value each."""
        values = F.linear(images[:, 0].flatten(1), weights)
        return SELECTED[name](values[:, :, None, None].expand(-1, -1, 2, 2) * 1)

    expected = torch.zeros(2, 2)
    first = bool(x[0, 0, 0, 0] > x[0, 0, 1, 1])
    expected[(0, 0) if first else (1, 1)] = 1
    torch.testing.assert_close(all_maps(forward, x), expected.expand(4, -1, -1))


def traced(function: Function) -> Tensor:
    marks, x = GateMarks(), torch.rand(2, 4).requires_grad_().clone()
    with ExcitationInterception(excitation_rules("clamp", marks=marks), marks, "cpu"):
        return function(F.linear(x, torch.eye(4)))


def test_the_origin_is_below_shifts_and_rearrangements() -> None:
    for function in (lambda x: x, lambda x: (2 * x + 1).T.reshape(4, 2)[:2], lambda x: x / x.softmax(1)):
        edge = origin(traced(function))
        assert edge is not None
        assert type(backward_of(edge[0])).__name__ == "LinearBackward"
    assert isinstance(backward_below(traced(lambda x: x.relu().chunk(2, 1)[0])), Activation)
    assert backward_below(traced(lambda x: x.relu().chunk(2, 1)[0]), whole=True) is None
    assert isinstance(backward_below(traced(lambda x: 1 - x.sigmoid().view(4, 2)), whole=True), Gate)
    assert origin(traced(lambda x: torch.stack([x, x.relu()]))) is not None
    assert origin(None) is None


def test_what_is_computed_from_what() -> None:
    found = {}

    def forward(x: Tensor) -> Tensor:
        y = x.relu()
        z = F.linear(y, torch.eye(4))
        found["later"] = is_computed_from(z, y) and is_computed_from(z, x) and is_computed_from(2 * z.T, x + 1)
        found["earlier"] = is_computed_from(y, z) or is_computed_from(x, x) or is_computed_from(x + 1, x)
        first, second = y.chunk(2, dim=1)
        found["other part"] = is_computed_from(second.sigmoid(), first)
        return z

    traced(forward)
    assert found == {"later": True, "earlier": False, "other part": False}
