"""Each operator's rule against its closed form or a naive version through the layer's Jacobian, in float64."""

import functools
import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from vitrine.attribution import excitation_maps

Function = Callable[[Tensor], Tensor]


@pytest.fixture(autouse=True)
def _doubles() -> Any:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def jacobian(layer: Function, x: Tensor) -> Tensor:
    """(outputs, inputs) of a layer that is linear in x but for its bias."""
    rows = torch.autograd.functional.jacobian(layer, x)
    assert isinstance(rows, Tensor)
    return rows.reshape(-1, x.numel())


def quotient(mass: Tensor, sums: Tensor) -> Tensor:
    return torch.where(sums == 0, 0, mass / torch.where(sums == 0, 1, sums))


def naive(matrix: Tensor, x: Tensor, mass: Tensor, negative_activations: str) -> Tensor:
    """Zhang's equation with the matrix written out."""
    flat = x.reshape(-1)
    up, down = matrix.clamp(min=0), matrix.clamp(max=0)
    positive, negative = flat.clamp(min=0), flat.clamp(max=0)
    if negative_activations == "raw":
        received = flat * (up.T @ quotient(mass, up @ flat))
    elif negative_activations == "zplus":
        slopes = quotient(mass, up @ positive + down @ negative)
        received = positive * (up.T @ slopes) + negative * (down.T @ slopes)
    else:
        received = positive * (up.T @ quotient(mass, up @ positive))
    return received.view_as(x)


def all_maps(layer: Function, x: Tensor, negative_activations: Any = "clamp", step: int = 1) -> Tensor:
    """(K, H, W) maps of a layer's outputs, all or each ``step``-th of them, for one image."""

    def forward(images: Tensor) -> Tensor:
        return layer(images).flatten(1)

    count = forward(x).shape[1]
    maps, _ = excitation_maps(
        forward, x, torch.arange(0, count, step)[None], contrastive=False, negative_activations=negative_activations
    )
    return maps[0]


def assert_like_naive(layer: Function, x: Tensor, negative_activations: str = "clamp") -> None:
    matrix = jacobian(layer, x)
    step = len(matrix) // 7 + 1
    maps = all_maps(layer, x, negative_activations, step)
    for mass, actual in zip(torch.eye(len(matrix))[::step], maps, strict=True):
        torch.testing.assert_close(actual, naive(matrix, x, mass, negative_activations)[0].sum(dim=0))


@settings(max_examples=40)
@given(
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 2]),
    padding=st.sampled_from([0, 1, (1, 0), "same", "valid"]),
    bias=st.booleans(),
    negative_activations=st.sampled_from(["clamp", "raw", "zplus"]),
    seed=st.integers(0, 1000),
)
def test_conv2d(
    kernel: tuple[int, int],
    stride: int,
    dilation: int,
    groups: int,
    padding: Any,
    bias: bool,
    negative_activations: str,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    stride = 1 if padding == "same" else stride
    layer = nn.Conv2d(
        2, 4, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=bias
    ).requires_grad_(requires_grad=False)
    assert_like_naive(layer, torch.randn(1, 2, 6, 5), negative_activations)


@settings(max_examples=15)
@given(
    stride=st.integers(1, 3),
    groups=st.sampled_from([1, 2]),
    output_padding=st.sampled_from([0, 1]),
    negative_activations=st.sampled_from(["clamp", "raw", "zplus"]),
    seed=st.integers(0, 1000),
)
def test_transposed_conv2d(stride: int, groups: int, output_padding: int, negative_activations: str, seed: int) -> None:
    torch.manual_seed(seed)
    layer = nn.ConvTranspose2d(
        2, 4, 3, stride=stride, groups=groups, output_padding=min(output_padding, stride - 1), padding=1
    ).requires_grad_(requires_grad=False)
    assert_like_naive(layer, torch.randn(1, 2, 3, 4), negative_activations)


def weighted(images: Tensor) -> Tensor:
    """Something with a weight, which excitation backprop wants to see; passes each value on as it is."""
    return F.conv2d(images, torch.eye(images.shape[1])[:, :, None, None])


OTHER_LINEAR_OPERATORS: dict[str, Function] = {
    "conv1d": lambda x: F.conv1d(x.flatten(2), torch.linspace(-1, 1, 18).view(3, 2, 3), stride=2),
    "conv3d": lambda x: F.conv3d(x[:, None], torch.linspace(-1, 1, 16).view(2, 1, 2, 2, 2)),
    "conv_transpose1d": lambda x: F.conv_transpose1d(x.flatten(2), torch.linspace(-1, 1, 18).view(2, 3, 3)),
    "conv_transpose3d": lambda x: F.conv_transpose3d(x[:, None], torch.linspace(-1, 1, 16).view(1, 2, 2, 2, 2)),
    "conv by keywords": lambda x: F.conv2d(weight=torch.linspace(-1, 1, 4).view(2, 2, 1, 1), input=x, stride=2),
    "circular padding": lambda x: F.conv2d(
        F.pad(x, (1, 1, 1, 1), mode="circular"), torch.linspace(-1, 1, 18).view(1, 2, 3, 3)
    ),
    "linear": lambda x: F.linear(x, torch.linspace(-1, 1, 15).view(3, 5), torch.ones(3)),
    "linear on a vector": lambda x: F.linear(x.flatten(1), torch.linspace(-1, 1, 120).view(3, 40)),
    "avg_pool2d": lambda x: F.avg_pool2d(weighted(x), 3, stride=2, padding=1, count_include_pad=False),
    "avg_pool1d": lambda x: F.avg_pool1d(weighted(x).flatten(2), 3),
    "avg_pool3d": lambda x: F.avg_pool3d(weighted(x)[:, None], 2),
    "adaptive_avg_pool1d": lambda x: F.adaptive_avg_pool1d(weighted(x).flatten(2), 3),
    "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(weighted(x), (3, 2)),
    "adaptive_avg_pool3d": lambda x: F.adaptive_avg_pool3d(weighted(x)[:, None], 2),
    "mean": lambda x: weighted(x).mean((2, 3)),
    "torch.mean": lambda x: torch.mean(weighted(x), dim=-1, keepdim=True),
    "sum": lambda x: weighted(x).sum(dim=1),
    "bilinear": lambda x: F.interpolate(weighted(x), size=(5, 7), mode="bilinear", align_corners=False),
    "nearest": lambda x: F.interpolate(weighted(x), scale_factor=2),
    "linear interpolation": lambda x: F.interpolate(weighted(x).flatten(2), size=7, mode="linear"),
}


@pytest.mark.parametrize("negative_activations", ["clamp", "raw", "zplus"])
@pytest.mark.parametrize("name", OTHER_LINEAR_OPERATORS)
def test_other_linear_operators(name: str, negative_activations: str) -> None:
    x = torch.randn(1, 2, 4, 5)
    if name in {"conv1d", "conv3d", "conv_transpose1d", "conv_transpose3d", "conv by keywords"} or "linear on" in name:
        assert_like_naive(OTHER_LINEAR_OPERATORS[name], x, negative_activations)
    else:  # behind the identity, whose own rule would clamp twice: positive values say all
        assert_like_naive(OTHER_LINEAR_OPERATORS[name], x.abs(), negative_activations)


def test_negative_activations_enter_a_mean_as_asked() -> None:
    x = torch.tensor([3.0, -1.0, 1.0, 0.0]).view(1, 1, 2, 2)
    layer = lambda images: F.linear(F.relu(images).mean((2, 3)) * 1, torch.ones(1, 1))  # noqa: E731
    torch.testing.assert_close(all_maps(layer, x).flatten(), torch.tensor([0.75, 0.0, 0.25, 0.0]))
    layer = lambda images: F.linear(images.mean((2, 3)), torch.ones(1, 1))  # noqa: E731
    torch.testing.assert_close(all_maps(layer, x).flatten(), torch.tensor([0.75, 0.0, 0.25, 0.0]))
    torch.testing.assert_close(all_maps(layer, x, "raw").flatten(), torch.tensor([1.0, -1 / 3, 1 / 3, 0.0]))


@pytest.mark.parametrize("negative_activations", ["clamp", "raw", "zplus"])
def test_activations_are_those_that_the_operator_read(negative_activations: str) -> None:
    x = torch.randn(1, 2, 4, 4)

    def forward(images: Tensor, *, changes: bool) -> Tensor:
        read = weighted(images)
        means = read.mean((2, 3))
        if changes:
            read.relu_()
        return means

    maps = [all_maps(functools.partial(forward, changes=changes), x, negative_activations) for changes in (False, True)]
    torch.testing.assert_close(maps[0], maps[1])


def random_batch_norm(kind: type[nn.BatchNorm1d | nn.BatchNorm2d], channels: int, *, affine: bool = True) -> Any:
    """In eval mode, with scales of both signs where it has any."""
    norm = kind(channels, affine=affine).eval()
    signs = torch.tensor([-1.0, 1.0]).repeat(channels)[:channels]
    state = {"running_mean": torch.randn(channels), "running_var": torch.rand(channels) + 0.2}
    if affine:
        state |= {"weight": signs * (torch.rand(channels) + 0.3), "bias": torch.randn(channels)}
    norm.load_state_dict(state, strict=False)
    return norm.requires_grad_(requires_grad=False)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("negative_activations", ["clamp", "raw", "zplus"])
@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.Conv2d(2, 4, 3, padding=1),
        lambda: nn.Conv2d(2, 4, 3, groups=2, bias=False),
        lambda: nn.ConvTranspose2d(2, 4, 3, stride=2),
        lambda: nn.ConvTranspose2d(2, 4, 3, stride=2, groups=2),
    ],
)
def test_batch_norm_folds_into_the_convolution_before_it(
    layer: Callable[[], nn.Module], negative_activations: str, affine: bool
) -> None:
    conv, norm = layer().requires_grad_(requires_grad=False), random_batch_norm(nn.BatchNorm2d, 4, affine=affine)
    # conv and norm in one are linear but for a bias, so that their common Jacobian is the folded weight
    assert_like_naive(nn.Sequential(conv, norm), torch.randn(1, 2, 4, 3), negative_activations)


def test_batch_norm_folds_into_a_linear_layer() -> None:
    layers = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), random_batch_norm(nn.BatchNorm1d, 4)).requires_grad_(
        requires_grad=False
    )
    assert_like_naive(layers, torch.randn(1, 1, 4, 3))


@pytest.mark.parametrize("contrastive", [False, True])
def test_deep_net_with_batch_norm_equals_the_explicitly_folded_one(contrastive: bool) -> None:
    plain, folded = [], []
    for inputs in (2, 5, 5):
        conv, norm = nn.Conv2d(inputs, 5, 3), random_batch_norm(nn.BatchNorm2d, 5)
        fused = nn.utils.fuse_conv_bn_eval(conv.eval(), norm)
        plain += [conv, norm, nn.ReLU()]
        folded += [fused, nn.ReLU()]
    x, indices = torch.randn(2, 2, 8, 8), torch.arange(5).expand(2, -1)
    maps = [
        excitation_maps(nn.Sequential(*net, nn.Flatten(), net_head), x, indices, contrastive=contrastive)[0]
        for net_head in [nn.Linear(20, 5)]
        for net in (plain, folded)
    ]
    torch.testing.assert_close(maps[0], maps[1])
    assert maps[0].abs().sum() > 0.1


def test_a_convolution_that_is_also_used_without_its_batch_norm() -> None:
    conv, norm = nn.Conv2d(1, 2, 1, bias=False), random_batch_norm(nn.BatchNorm2d, 2)
    conv.weight.data = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)

    def forward(images: Tensor) -> Tensor:
        y = conv(images)
        return torch.cat([y, norm(y)], dim=1).flatten(1)

    # γ of the first channel is negative and of the second positive: the signs are 1, −1, −1, −1
    x = torch.ones(1, 1, 1, 1)
    torch.testing.assert_close(all_maps(forward, x).flatten(), torch.tensor([1.0, 0.0, 0.0, 0.0]))


def test_a_batch_norm_that_cannot_be_folded_any_more_is_refused() -> None:
    conv, norm = nn.Conv2d(2, 3, 1).requires_grad_(requires_grad=False), random_batch_norm(nn.BatchNorm2d, 3)

    def forward(images: Tensor) -> Tensor:
        images = weighted(images)
        y = conv(images)
        images += 1  # what the convolution has read is gone
        return torch.as_tensor(norm(y))

    with pytest.raises(ValueError, match=r"no rule for .*batch_norm"):
        all_maps(forward, torch.rand(1, 2, 2, 2))


def test_batch_norm_after_anything_else_passes_mass_unchanged() -> None:
    conv, norm = nn.Conv2d(2, 3, 3), random_batch_norm(nn.BatchNorm2d, 3)
    x = torch.rand(1, 2, 4, 4)
    expected = all_maps(lambda images: F.relu(conv(images)), x)
    torch.testing.assert_close(all_maps(lambda images: norm(F.relu(conv(images))), x), expected)


def test_batch_norm_on_batch_statistics_is_refused() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, track_running_stats=False), nn.Flatten()).eval()
    with pytest.raises(ValueError, match="running statistics"):
        excitation_maps(net, torch.rand(2, 1, 2, 2), torch.zeros(2, 1, dtype=torch.long), contrastive=False)


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
    "times a constant": lambda x: x * torch.linspace(-1, 1, 4).view(1, 4, 1, 1),
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
    "matmul": (lambda x: x @ x, "torch.Tensor.matmul"),
    "torch.matmul": (lambda x: torch.matmul(x, x), "torch.matmul"),
    "softmax": (lambda x: x.softmax(1), "torch.Tensor.softmax"),
    "product of two": (lambda x: x * x.relu(), "torch.Tensor.mul"),
    "difference of two": (lambda x: x - x.relu(), "torch.Tensor.sub"),
    "constant minus it": (lambda x: 1 - x, "torch.Tensor.__rsub__"),
    "exp in place": (lambda x: x.exp_(), "torch.Tensor.exp_"),
    "exp in place on a view": (lambda x: fill(x, x[:, :2].exp_()), "torch.Tensor.exp_"),
    "bicubic": (
        lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"),
        "torch.nn.functional.interpolate",
    ),
    "weights from the image": (lambda x: F.linear(x, x[0, 0]), "torch.nn.functional.linear"),
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
