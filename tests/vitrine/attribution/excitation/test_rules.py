"""Rules of operators that are not linear: passing, structural, sums, gates, and operators without a rule."""

import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.helpers.naive_excitation import Function, all_maps, weighted

pytestmark = pytest.mark.usefixtures("doubles")


def through_conv(function: Function) -> Function:
    """A function after a convolution with weights of both signs, so that values of both signs reach it."""
    weight = torch.linspace(-1, 1, 2 * 4 * 9).view(4, 2, 3, 3)
    return lambda images: function(F.conv2d(images, weight, padding=1))


PASSING: dict[str, Function] = {
    "F.relu": F.relu,
    "torch.relu": torch.relu,
    "relu_": lambda x: x.relu_(),
    "F.relu in place by position": lambda x: F.relu(x, True),  # noqa: FBT003
    "nn.ReLU in place": nn.ReLU(inplace=True),
    "ReLU6": nn.ReLU6(),
    "ReLU6 in place": nn.ReLU6(inplace=True),
    "clamp": lambda x: x.clamp(min=0),
    "clamp_": lambda x: x.clamp_(min=0),
    "clamp_min": lambda x: torch.clamp_min(x, 0),
    "leaky": nn.LeakyReLU(0.1),
    "leaky in place": nn.LeakyReLU(0.1, inplace=True),
    "elu": nn.ELU(inplace=True),
    "selu": nn.SELU(),
    "celu": nn.CELU(),
    "gelu": nn.GELU(),
    "silu": nn.SiLU(inplace=True),
    "mish": nn.Mish(),
    "hardswish": nn.Hardswish(),
    "sigmoid": lambda x: x.sigmoid(),
    "hardsigmoid": nn.Hardsigmoid(),
    "logsigmoid": nn.LogSigmoid(),
    "tanh": torch.tanh,
    "softplus": nn.Softplus(),
    "prelu": nn.PReLU().double(),
    "dropout": nn.Dropout().eval(),
    "dropout2d": nn.Dropout2d(inplace=True).eval(),
    "alpha_dropout": nn.AlphaDropout().eval(),
    "feature_alpha_dropout": nn.FeatureAlphaDropout().eval(),
    "layer_norm": nn.LayerNorm([4, 4, 4]).double(),
    "group_norm": nn.GroupNorm(2, 4).double(),
    "instance_norm": nn.InstanceNorm2d(4),
    "rms_norm": nn.RMSNorm([4, 4, 4]).double(),
    "local_response_norm": nn.LocalResponseNorm(3),
    "times a scalar": lambda x: 2 * x,
    "times a positive constant": lambda x: x * torch.linspace(1, 2, 4).view(1, 4, 1, 1),
    "a sum of relu and a constant, times any": lambda x: (
        torch.add(x.relu(), 1) * torch.linspace(-1, 1, 4).view(4, 1, 1)
    ),
    "divided in place": lambda x: operator.itruediv(x, torch.full((4, 1, 1), 3.0)),
    "plus a scalar": lambda x: 1 + x,
    "plus a constant in place": lambda x: operator.iadd(x, torch.ones(4, 4, 4)),
    "minus a constant": lambda x: x - torch.ones(4, 1, 1),
    "onto a constant": lambda x: torch.zeros(1, 4, 4, 4).add_(x),
    "float": lambda x: x.to(torch.float64),
    "half precision": lambda x: x.half() * torch.ones(1, dtype=torch.bfloat16),
}


@pytest.mark.parametrize("name", PASSING)
def test_mass_passes_unchanged(name: str) -> None:
    x = torch.rand(1, 2, 4, 4)
    expected = all_maps(through_conv(lambda y: y), x)
    torch.testing.assert_close(all_maps(through_conv(PASSING[name]), x), expected)


def test_a_constant_that_widens_by_broadcasting_passes_the_sum() -> None:
    x = torch.rand(1, 1, 2, 2)
    maps = all_maps(lambda images: weighted(images) * torch.ones(1, 3, 1, 1), x)
    torch.testing.assert_close(maps, torch.eye(4).repeat(3, 1).view(12, 2, 2))


def add_to_half(x: Tensor, y: Tensor) -> Tensor:
    x[:, :2] += y[:, :2]
    return x


def test_a_sum_in_place_on_a_slice_is_one_of_slices() -> None:
    weights = torch.linspace(-1, 1, 2 * 2 * 4 * 9).view(2, 4, 2, 3, 3)

    def forward(images: Tensor, *, in_place: bool) -> Tensor:
        x, y = (F.conv2d(images, weight, padding=1) for weight in weights)
        return add_to_half(x, y) if in_place else torch.cat([x[:, :2] + y[:, :2], x[:, 2:]], dim=1)

    images = torch.rand(1, 2, 4, 4)
    expected = all_maps(lambda x: forward(x, in_place=False), images)
    torch.testing.assert_close(all_maps(lambda x: forward(x, in_place=True), images), expected)


def fill(canvas: Tensor, x: Tensor) -> Tensor:
    canvas[:, 1:] = x[:, 1:]
    return canvas


def relu_on_view(x: Tensor) -> Tensor:
    x[:, :2].relu_()
    return x


STRUCTURAL: dict[str, Function] = {
    "cat": lambda x: torch.cat([x, x.flip(1)], dim=1),
    "stack": lambda x: torch.stack([x, x.roll(1, 2)], dim=1),
    "chunk": lambda x: torch.cat([part.relu() for part in x.chunk(2, dim=1)][::-1], dim=1),
    "split": lambda x: x.split([1, 3], dim=1)[1],
    "unbind": lambda x: next(iter(x.unbind(1))),
    "getitem": lambda x: x[:, [2, 0], 1:],
    "setitem": lambda x: fill(torch.zeros(1, 4, 4, 4), x),
    "narrow": lambda x: x.narrow(2, 1, 2),
    "index_select": lambda x: x.index_select(1, torch.tensor([3, 1])),
    "permute": lambda x: x.permute(0, 2, 3, 1).contiguous().view(1, -1),
    "transpose": lambda x: x.transpose(1, 2).reshape(1, -1),
    "squeeze": lambda x: x.unsqueeze(0).squeeze(0).flatten(1).unflatten(1, (8, 8)),
    "pad": lambda x: F.pad(x, (1, 0, 2, 0)),
    "expand": lambda x: x[:, None].expand(-1, 2, -1, -1, -1),
    "shuffle by view": lambda x: x.view(1, 2, 2, 4, 4).transpose(1, 2).contiguous().view(1, 4, 4, 4),
    "channel_shuffle": nn.ChannelShuffle(2),
    "pixel_shuffle": nn.PixelShuffle(2),
    "relu in place on a view": relu_on_view,
}


@pytest.mark.parametrize("name", STRUCTURAL)
def test_structural_operators_take_mass_back_to_where_values_came_from(name: str) -> None:
    x = torch.rand(1, 2, 4, 4)
    seed = torch.rand_like(STRUCTURAL[name](torch.zeros(1, 4, 4, 4)).flatten(1))[0]
    moved = STRUCTURAL[name]
    values = torch.ones(1, 4, 4, 4, requires_grad=True)
    (mass,) = torch.autograd.grad(moved(values * 1).flatten(1), values, seed[None])
    before = all_maps(through_conv(lambda y: y), x)
    expected = torch.einsum("o,ohw->hw", mass.flatten(), before)
    after = torch.einsum("o,ohw->hw", seed, all_maps(through_conv(moved), x))
    torch.testing.assert_close(after, expected)


def test_max_pool_gives_all_to_the_first_winner() -> None:
    x = torch.tensor([[1.0, 2.0, 0.0, 0.0], [2.0, 1.0, 0.0, 0.0]]).view(1, 1, 2, 4)
    for pool in (nn.MaxPool2d(2), nn.AdaptiveMaxPool2d((1, 2)), lambda y: torch.max_pool2d(y, 2)):
        maps = all_maps(lambda images, pool=pool: pool(weighted(images)), x)  # type: ignore[misc]
        torch.testing.assert_close(maps[0], torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.0] * 4]))
        torch.testing.assert_close(maps[1], torch.zeros(2, 4))  # a winner of 0 has no excitation below it


def two_branches(join: Callable[[Tensor, Tensor], Any]) -> Function:
    """Branches 2a and −3a + b of pixels a and b, each 1 × 1 × 1."""
    first, second = torch.tensor([2.0, 0.0]), torch.tensor([-3.0, 1.0])

    def forward(images: Tensor) -> Tensor:
        return torch.cat(
            [torch.as_tensor(join(*(F.linear(images.flatten(1), w[None]) for w in (first, second))))], dim=1
        )

    return forward


def added(a: Tensor, b: Tensor) -> Tensor:
    a.add_(b)
    return a


def added_by_operator(a: Tensor, b: Tensor) -> Tensor:
    a += b
    return a


ADDITIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "+": lambda a, b: a + b,
    "torch.add": torch.add,
    "add_ as a statement": added,
    "+=": added_by_operator,
    "sum()": lambda a, b: torch.as_tensor(sum([a, b])),
}


@pytest.mark.parametrize("name", ADDITIONS)
def test_a_sum_splits_by_positive_parts(name: str) -> None:
    # a = 1, b = 9: branches 2 and 6; a = 1, b = 1: branches 2 and −2
    for b, expected in [(9.0, [0.25, 0.75]), (1.0, [1.0, 0.0])]:
        x = torch.tensor([1.0, b]).view(1, 1, 1, 2)
        join = ADDITIONS[name]
        for forward in (two_branches(join), two_branches(lambda p, q, join=join: join(q, p))):  # type: ignore[misc]
            torch.testing.assert_close(all_maps(forward, x).flatten(), torch.tensor(expected))


def test_a_sum_of_nothing_positive_gets_nothing() -> None:
    x = torch.tensor([-1.0, -4.0]).view(1, 1, 1, 2)
    assert all_maps(two_branches(torch.add), x).abs().sum() == 0


def test_alpha_scales_the_second_operand() -> None:
    x = torch.tensor([1.0, 9.0]).view(1, 1, 1, 2)
    maps = all_maps(two_branches(lambda a, b: torch.add(a, b, alpha=3)), x)
    torch.testing.assert_close(maps.flatten(), torch.tensor([0.1, 0.9]))


DIFFERENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "-": lambda a, b: a - b,
    "sub in place": lambda a, b: a.sub_(b),
    "alpha": lambda a, b: torch.sub(2 * a, b, alpha=2),
    "rsub": lambda a, b: torch.rsub(b, a),
    "plus the negative": lambda a, b: torch.add(a, b, alpha=-1),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_difference_splits_by_what_makes_it_positive(name: str) -> None:
    # a = 1, b = 1: branches 2 and −2; a = 1, b = 9: branches 2 and 6
    for b, expected in [(1.0, [0.5, 0.5]), (9.0, [1.0, 0.0])]:
        x = torch.tensor([1.0, b]).view(1, 1, 1, 2)
        torch.testing.assert_close(all_maps(two_branches(DIFFERENCES[name]), x).flatten(), torch.tensor(expected))


@pytest.mark.parametrize(
    "center", [lambda x: x - x.mean(1, keepdim=True), lambda x: x.sub_(x.mean(1, keepdim=True).expand(x.shape))]
)
def test_a_mean_that_is_taken_off_gets_nothing(center: Function) -> None:
    x = torch.rand(1, 2, 3, 3)
    torch.testing.assert_close(
        all_maps(lambda images: center(weighted(images)), x), torch.eye(9).repeat(2, 1).view(18, 3, 3)
    )


def test_a_broadcast_sum_keeps_its_mass() -> None:
    x = torch.rand(1, 2, 3, 3)
    maps = all_maps(lambda images: weighted(images) + weighted(images).mean((2, 3), keepdim=True), x)
    torch.testing.assert_close(maps.sum((1, 2)), torch.ones(18))


def test_a_gate_gets_nothing() -> None:
    x = torch.rand(1, 2, 3, 3)

    def gated(images: Tensor) -> Tensor:
        features = weighted(images)
        gate = F.conv2d(features.mean((2, 3), keepdim=True), torch.rand(2, 2, 1, 1)).sigmoid()
        return features * gate

    torch.testing.assert_close(all_maps(gated, x), torch.eye(9).repeat(2, 1).view(18, 3, 3))
    torch.testing.assert_close(
        all_maps(lambda images: images.mean((2, 3), keepdim=True) * weighted(images), x),
        torch.eye(9).repeat(2, 1).view(18, 3, 3),
    )


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        return x**3

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


WITHOUT_RULE: dict[str, tuple[Function, str]] = {
    "cumprod": (lambda x: x.cumprod(1), "torch.Tensor.cumprod"),
    "Fourier transform": (lambda x: torch.fft.rfft2(x).real, "real"),
    "complex product": (lambda x: torch.view_as_real(torch.polar(x, x) * 1j), "torch.view_as_real"),
    "softmax": (lambda x: x.softmax(1), "torch.Tensor.softmax"),
    "function of a softmax": (lambda x: 2 * F.log_softmax(x, 1).exp().sqrt(), "softmax"),
    "constant minus it": (lambda x: 1 - x, "torch.Tensor.__rsub__"),
    "exp in place": (lambda x: x.exp_(), "torch.Tensor.exp_"),
    "exp in place on a view": (lambda x: fill(x, x[:, :2].exp_()), "torch.Tensor.exp_"),
    "bicubic": (
        lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"),
        "torch.nn.functional.interpolate",
    ),
    "bias from the image": (lambda x: F.linear(x, torch.ones(4, 4), x[0, 0, 0]), "torch.nn.functional.linear"),
    "own autograd function": (Cube.apply, "CubeBackward"),
    "operator of the dispatcher": (torch.ops.aten.exp, "exp"),
}


@pytest.mark.parametrize("name", WITHOUT_RULE)
def test_an_operator_without_a_rule_is_named(name: str) -> None:
    function, named = WITHOUT_RULE[name]
    with pytest.raises(ValueError, match=rf"Excitation backprop has no rule for .*{named}"):
        all_maps(through_conv(function), torch.rand(1, 2, 4, 4))


def test_an_operator_that_does_not_lead_to_the_unit_needs_no_rule() -> None:
    def forward(images: Tensor) -> Tensor:
        y = weighted(images)
        y.softmax(1)
        assert y.exp().shape == y.shape
        return y.flatten(1)

    assert all_maps(forward, torch.rand(1, 1, 2, 2)).sum() == 4


def test_without_a_weighted_operator_there_is_an_error() -> None:
    for forward in (lambda x: x.mean((2, 3)), lambda x: weighted(x).detach().flatten(1), lambda _: torch.ones(1, 3)):
        with pytest.raises(ValueError, match="no convolution or linear layer"):
            all_maps(forward, torch.rand(1, 3, 2, 2))


def test_an_unknown_treatment_of_negative_activations_is_named() -> None:
    with pytest.raises(ValueError, match="negative_activations is 'clip'; give 'clamp', 'raw' or 'zplus'"):
        all_maps(weighted, torch.rand(1, 1, 2, 2), "clip")
