"""Rules of linear operators and batch norms against a naive version through the Jacobian, in float64."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.helpers.excitation_models import random_batch_norm
from tests.helpers.naive_excitation import Function, all_maps, assert_like_naive, weighted
from vitrine.attribution import excitation_maps

pytestmark = pytest.mark.usefixtures("doubles")


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


def test_a_batch_norm_is_folded_also_if_what_the_convolution_read_has_changed() -> None:
    conv, norm = nn.Conv2d(2, 3, 1).requires_grad_(requires_grad=False), random_batch_norm(nn.BatchNorm2d, 3)

    def forward(images: Tensor, *, changes: bool) -> Tensor:
        images = weighted(images)
        y = conv(images)
        if changes:
            images += 1
        return torch.as_tensor(norm(y))

    x = torch.rand(1, 2, 2, 2)
    maps = [all_maps(functools.partial(forward, changes=changes), x) for changes in (False, True)]
    torch.testing.assert_close(maps[0], maps[1])


def test_batch_norm_after_anything_else_passes_mass_unchanged() -> None:
    conv, norm = nn.Conv2d(2, 3, 3), random_batch_norm(nn.BatchNorm2d, 3)
    x = torch.rand(1, 2, 4, 4)
    expected = all_maps(lambda images: F.relu(conv(images)), x)
    torch.testing.assert_close(all_maps(lambda images: norm(F.relu(conv(images))), x), expected)


def test_batch_norm_on_batch_statistics_is_refused() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, track_running_stats=False), nn.Flatten()).eval()
    with pytest.raises(ValueError, match="running statistics"):
        excitation_maps(net, torch.rand(2, 1, 2, 2), torch.zeros(2, 1, dtype=torch.long), contrastive=False)
