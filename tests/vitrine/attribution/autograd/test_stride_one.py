"""Stride one against the Jacobians of the same layers with stride 1, and what is left of the grid."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from vitrine.attribution import Deconvnet, GuidedBackprop
from vitrine.attribution.autograd.interception import Interception
from vitrine.attribution.autograd.stride_one import Pooling, stride_one_rules
from vitrine.metrics.grid import grid_contrast, grid_share

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def vjp_of(operator: Any, x: Tensor, signal: Tensor, pooling: Pooling = "switches") -> Tensor:
    """What a signal at an operator's output becomes at its input under the rules."""
    leaf = x.clone().requires_grad_()
    carried = leaf * 1
    with Interception(stride_one_rules(pooling)):
        output = operator(carried)
    (vjp,) = torch.autograd.grad(output, leaf, signal)
    return vjp


def by_jacobian(stride_one: Any, x: Tensor, signal: Tensor) -> Tensor:
    """The signal at the output's nearest places of the operator with stride 1, through that operator's Jacobian."""
    size = stride_one(x).shape
    for dim in range(2, x.ndim):
        nearest = torch.arange(size[dim]) * signal.shape[dim] // size[dim]
        signal = signal.index_select(dim, nearest)
    jacobian = torch.autograd.functional.jacobian(stride_one, x)
    return (signal.flatten() @ jacobian.reshape(signal.numel(), -1)).view_as(x)


def each(dims: int, low: int, high: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(low, high), min_size=dims, max_size=dims)


@settings(max_examples=60)
@given(data=st.data(), dims=st.sampled_from([1, 2, 2, 3]), groups=st.sampled_from([1, 2]))
def test_convolutions_go_back_with_stride_one(data: st.DataObject, dims: int, groups: int) -> None:
    kernel, stride, dilation = (data.draw(each(dims, 1, most)) for most in (3, 3, 2))
    padding: Any = data.draw(st.one_of(st.just("valid"), st.integers(0, 2), each(dims, 0, 2)))
    size = data.draw(each(dims, 3, 6 if dims < 3 else 4))
    torch.manual_seed(data.draw(st.integers(0, 1000)))
    x = torch.randn(2, 2 * groups, *size, dtype=torch.float64)
    weight = torch.randn(2 * groups, 2, *kernel, dtype=torch.float64)
    pads = {"valid": [0] * dims}.get(str(padding)) or ([padding] * dims if isinstance(padding, int) else list(padding))
    full = [a + 2 * o - d * (m - 1) for a, o, d, m in zip(size, pads, dilation, kernel, strict=True)]
    assume(min(full) >= 1)

    def convolution(x: Tensor, stride: Any) -> Tensor:
        return CONVOLUTIONS[dims](x, weight, None, stride, padding, dilation, groups)

    output = convolution(x, stride)
    signal = torch.randn_like(output)
    assert list(convolution(x, 1).shape[2:]) == full  # equation 3: A + 2·O − M + 1
    actual = vjp_of(lambda x: convolution(x, stride), x, signal)
    torch.testing.assert_close(actual, by_jacobian(lambda x: convolution(x, 1), x, signal))


@pytest.mark.parametrize(
    "module", [nn.Conv2d(3, 4, 3, stride=2, padding_mode="circular", padding=1), nn.Conv2d(3, 4, 2, 2)]
)
def test_modules_with_biases_and_other_padding(module: nn.Conv2d) -> None:
    module, x = module.double().requires_grad_(requires_grad=False), torch.randn(1, 3, 7, 7, dtype=torch.float64)
    signal = torch.randn_like(module(x))
    actual = vjp_of(module, x, signal)
    module.stride = (1, 1)
    torch.testing.assert_close(actual, by_jacobian(module, x, signal))


POOLINGS: list[tuple[Any, Any]] = [
    (lambda x: F.max_pool2d(x, 2), lambda x: F.max_pool2d(x, 2, 1)),
    (nn.MaxPool2d(3, 2, padding=1, ceil_mode=True), nn.MaxPool2d(3, 1, padding=1)),
    (nn.MaxPool2d((2, 3), (2, 1), dilation=(1, 2)), nn.MaxPool2d((2, 3), 1, dilation=(1, 2))),
    (lambda x: torch.max_pool2d(x, 3, 2), lambda x: torch.max_pool2d(x, 3, 1)),
    (lambda x: F.avg_pool2d(x, 2), lambda x: F.avg_pool2d(x, 2, 1)),
    (nn.AvgPool2d(3, 2, padding=1, count_include_pad=False), nn.AvgPool2d(3, 1, padding=1, count_include_pad=False)),
]


@pytest.mark.parametrize(("strided", "stride_one"), POOLINGS)
def test_pooling_is_left_to_its_switches_or_goes_back_with_stride_one(strided: Any, stride_one: Any) -> None:
    x = torch.randn(2, 3, 7, 8, dtype=torch.float64)
    leaf = x.clone().requires_grad_()
    output = strided(leaf)
    signal = torch.randn_like(output)
    (gradient,) = torch.autograd.grad(output, leaf, signal)
    torch.testing.assert_close(vjp_of(strided, x, signal), gradient)
    expected = by_jacobian(stride_one, x, signal)
    torch.testing.assert_close(vjp_of(strided, x, signal, "resampled"), expected)
    assert not torch.allclose(expected, gradient)


def test_pooling_that_is_changed_in_place_afterwards() -> None:
    x = torch.randn(1, 2, 6, 6, dtype=torch.float64)

    def pooled(x: Tensor) -> Tensor:
        output = F.max_pool2d(x, 2)
        x.mul_(-1)
        return output

    signal = torch.randn(1, 2, 3, 3, dtype=torch.float64)
    expected = by_jacobian(lambda x: F.max_pool2d(x, 2, 1), x, signal)
    torch.testing.assert_close(vjp_of(pooled, x, signal, "resampled"), expected)


class Strided(nn.Module):
    """Grouped, dilated, rectangular and depthwise convolutions, a pooling, a residual sum and a cat."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, (5, 3), stride, padding=(2, 1))
        self.depthwise = nn.Conv2d(8, 8, 3, stride, padding=1, groups=8)
        self.dilated = nn.Conv2d(8, 8, 3, stride=(1, stride), padding=(2, 2), dilation=2, groups=2)
        self.skip = nn.Conv2d(8, 8, 1, stride=(1, stride))
        self.head = nn.Linear(16, 3)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.stem(x)), 2, self.stride)
        x = F.relu6(self.depthwise(x))
        x = torch.cat([F.relu(self.dilated(x) + self.skip(x)), F.avg_pool2d(x, (1, self.stride))], dim=1)
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


@pytest.mark.parametrize("method", [Deconvnet, GuidedBackprop])
def test_without_strides_it_is_the_plain_method(method: type[Deconvnet]) -> None:
    model, x = Strided(1).double(), torch.randn(2, 3, 12, 12, dtype=torch.float64)
    for pooling in ("switches", "resampled"):
        actual, plain = method(model, "dilated", stride_one=True, pooling=pooling), method(model, "dilated")
        torch.testing.assert_close(actual.attribute(x, 1), plain.attribute(x, 1))
        torch.testing.assert_close(actual.attribute(x, channel=[3, 0]), plain.attribute(x, channel=[3, 0]))


@pytest.mark.parametrize("layer", ["stem", "depthwise"])
def test_the_grid_goes(layer: str) -> None:
    model, x = Strided(2), torch.rand(4, 3, 64, 64)
    channels = torch.arange(8).expand(4, 8)
    shares = [
        float(
            grid_share(
                GuidedBackprop(model, layer, stride_one=way).attribute(x, channel=channels).sum(2).flatten(0, 1), 2
            ).nanmean()
        )
        for way in (False, True)
    ]
    assert shares[1] < shares[0] / 3


# The measure


def test_the_measure_of_a_grid_of_a_smooth_map_and_of_noise() -> None:
    y, x = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    for stride in (2, 4, 8):
        grid = torch.cos(2 * torch.pi * x / stride) + 5
        smooth = torch.exp(-((x - 120) ** 2 + (y - 140) ** 2) / 3000)
        assert grid_share(grid[None], stride).item() > 0.99
        assert grid_share(smooth[None], stride).item() < 0.01
        gridded = grid_share((smooth * grid)[None], stride, band=0.2)
        assert gridded.item() > 2 * grid_share(smooth[None], stride, band=0.2).item()
    noise = grid_share(torch.randn(200, 64, 64), 2).mean().item()
    frequencies = (torch.fft.fftfreq(64).abs() * 2 - 1).abs() <= 0.05
    area = 1 - (1 - frequencies.double().mean()) ** 2
    assert noise == pytest.approx(area.item(), rel=0.05)


def test_the_contrast_is_high_for_a_grid_alone() -> None:
    y, x = torch.meshgrid(torch.arange(224.0), torch.arange(224.0), indexing="ij")
    falling = torch.fft.fft2(torch.randn(20, 224, 224, dtype=torch.float64))
    frequencies = torch.fft.fftfreq(224, dtype=torch.float64)
    natural = torch.fft.ifft2(falling / (frequencies[:, None] ** 2 + frequencies**2 + 1e-3)).real
    for stride in (2, 4):
        assert 0.5 < grid_contrast(natural, stride).mean() < 1.5
        assert 0.8 < grid_contrast(torch.randn(20, 224, 224), stride).mean() < 1.2
        gridded = natural * ((x % stride == 0) & (y % stride == 0))
        assert grid_contrast(gridded, stride).mean() > 3


def test_the_measure_of_a_constant_map_is_none() -> None:
    assert grid_contrast(torch.full((1, 8, 8), 3.0), 2).isnan().all()
    assert grid_share(torch.full((1, 8, 8), 3.0), 2).isnan().all()
    with pytest.raises(ValueError, match="stride is 1"):
        grid_share(torch.rand(1, 8, 8), 1)


@pytest.mark.parametrize("patch", [4, 7])
def test_a_patch_embedding_goes_back_with_stride_one(patch: int) -> None:
    """A kernel as large as its stride: each pixel gets the signals of all places of the kernel over it."""
    x = torch.randn(1, 2, 3 * patch, 2 * patch, dtype=torch.float64)
    weight, signal = torch.randn(3, 2, patch, patch).double(), torch.randn(1, 3, 3, 2).double()
    expected = by_jacobian(lambda y: F.conv2d(y, weight), x, signal)
    torch.testing.assert_close(vjp_of(lambda y: F.conv2d(y, weight, stride=patch), x, signal), expected)
