"""Gates: constants for what follows, marked as such, and named where nothing else leads to the explained output."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.helpers.naive_excitation import Function, all_maps, weighted
from vitrine.attribution import ExcitationBackprop
from vitrine.attribution.autograd.calls import carries
from vitrine.attribution.excitation.gates import ExcitationInterception, GateMarks
from vitrine.attribution.excitation.rules import excitation_rules

pytestmark = pytest.mark.usefixtures("doubles")


def run(function: Function) -> tuple[Any, GateMarks]:
    """What a function gives of a tensor that depends on pixels, and the marks."""
    marks, x = GateMarks(), torch.rand(2, 3).requires_grad_().clone()
    with ExcitationInterception(excitation_rules("clamp", marks=marks), marks, "cpu"):
        return function(x), marks


def written(x: Tensor) -> Tensor:
    buffer = torch.zeros(2, 3)
    buffer[:, 1:] = x.softmax(1)[:, 1:]
    return buffer


CONSTANTS: dict[str, tuple[Function, bool]] = {
    "softmax": (lambda x: x.softmax(1), True),
    "log-softmax": (lambda x: F.log_softmax(x, 1), True),
    "nn.Softmin": (nn.Softmin(1), True),
    "exp": (torch.exp, True),
    "1 / x": (lambda x: 1 / x, True),
    "2 ** x": (lambda x: 2**x, True),
    "x ** -1": (lambda x: x**-1, True),
    "a function of a gate": (lambda x: (x.softmax(1)[:, :2] * 3 + 1).T.contiguous(), True),
    "a gate through a layer": (lambda x: F.linear(x.softmax(1), torch.rand(4, 3)), True),
    "written to in part": (written, True),
    "detached": (lambda x: x.detach() + 1, True),
    "a mask": (lambda x: (x > 0).double(), True),
    "a parameter": (lambda _: torch.rand(3) * 2, False),
    "a sigmoid": (torch.sigmoid, False),
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_that_depend_on_the_pixels_are_marked(name: str) -> None:
    function, is_marked = CONSTANTS[name]
    output, marks = run(function)
    assert (output in marks) == is_marked
    assert not (is_marked and carries(output))


@pytest.mark.parametrize(
    ("last", "named"),
    [
        (nn.Softmax(dim=1), r"torch\.nn\.functional\.softmax"),
        (nn.LogSoftmax(dim=1), r"torch\.nn\.functional\.log_softmax"),
        (nn.Sequential(nn.Softmax(dim=1), nn.Linear(3, 3)), r"torch\.nn\.functional\.softmax"),
    ],
)
def test_a_network_that_gives_probabilities_is_told_to_give_logits(last: nn.Module, named: str) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), last).double()
    for method in (ExcitationBackprop(model), ExcitationBackprop(model, "2", contrastive=True)):
        explains: dict[str, Any] = {"target": 1} if method.layer is None else {"channel": 1}
        with pytest.raises(ValueError, match=rf"no rule for {named} .*; explain the logits or a layer before it\.$"):
            method.attribute(torch.rand(2, 1, 2, 2), **explains)


def test_what_is_detached_keeps_its_own_error() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    model.register_forward_hook(lambda _module, _inputs, output: output.detach())
    with pytest.raises(ValueError, match=r"No gradient leads from the logits"):
        ExcitationBackprop(model).attribute(torch.rand(2, 1, 2, 2), 0)


def test_what_a_gate_is_computed_from_needs_no_rule() -> None:
    def forward(images: Tensor) -> Tensor:
        x = weighted(images)
        return x * torch.fft.fft2(x).abs().cumprod(-1).sigmoid() / x.cumprod(-1).exp()

    x = torch.rand(1, 1, 2, 2)
    torch.testing.assert_close(all_maps(forward, x), torch.eye(4).view(4, 2, 2))


def test_contrast_is_taken_at_a_layer_and_not_at_attention_weights() -> None:
    head, x = torch.randn(3, 4), torch.rand(1, 1, 2, 4)
    tokens = lambda images: F.linear(images[:, 0], head)  # noqa: E731

    def pooled(images: Tensor) -> Tensor:
        return (images[:, 0].mean(-1).softmax(-1)[:, None] @ tokens(images))[:, 0]

    class Net(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return pooled(images)

    attention = x[0, 0].mean(-1).softmax(-1)
    expected = torch.zeros(2, 4)
    for sign in (1, -1):
        at_tokens = attention * tokens(x)[0, :, 1].clamp(min=0)
        products = x[0, 0] * (sign * head[1]).clamp(min=0)
        expected += sign * (at_tokens / at_tokens.sum())[:, None] * products / products.sum(-1, keepdim=True)
    torch.testing.assert_close(ExcitationBackprop(Net(), contrastive=True).attribute(x, 1)[0, 0], expected)


def test_dropout_in_place_on_a_part_in_evaluation_is_skipped() -> None:
    def forward(images: Tensor) -> Tensor:
        parts = weighted(images).unbind(1)
        return torch.stack([nn.Dropout(inplace=True).eval()(part) for part in parts], dim=1)

    x = torch.rand(1, 2, 2, 2)
    torch.testing.assert_close(all_maps(forward, x), torch.eye(4).repeat(2, 1).view(8, 2, 2))
