"""Image operations: one Gaussian blur, with and without truncation, and bilinear interpolation as matrices."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vitrine.core.image_ops import (
    constant,
    degenerate,
    gaussian_blur,
    gaussian_matrix,
    interpolation_matrix,
    separable_filter,
    upsampled,
    with_exact_constants,
)

DOUBLE = torch.zeros(0, dtype=torch.float64)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_blur_is_the_normalised_sum_of_gaussian_weights() -> None:
    image, sigma = torch.rand(5, 7, dtype=torch.float64), 1.7
    blurred = gaussian_blur(image, sigma)
    for y in range(5):
        for x in range(7):
            weights = torch.tensor(
                [[math.exp(-((y - v) ** 2 + (x - u) ** 2) / (2 * sigma**2)) for u in range(7)] for v in range(5)],
                dtype=torch.float64,
            )
            torch.testing.assert_close(blurred[y, x], (weights * image).sum() / weights.sum())


def test_blur_keeps_constant_images_and_dtypes_and_is_nothing_without_width() -> None:
    torch.testing.assert_close(gaussian_blur(torch.full((2, 3, 9, 4), 2.5), 3.0), torch.full((2, 3, 9, 4), 2.5))
    assert gaussian_blur(torch.rand(1, 1, 4, 4, dtype=torch.float16), 1.0).dtype == torch.float16
    images = torch.rand(2, 3, 6, 5)
    assert torch.equal(gaussian_blur(images, 0), images)
    assert gaussian_blur(images, 100).std(dim=(2, 3)).max() < 1e-3


def test_enlarging_is_bilinear_interpolation() -> None:
    masks = torch.rand(2, 1, 5, 4, dtype=torch.float64)
    enlarged = separable_filter(interpolation_matrix(5, 17, masks), masks, interpolation_matrix(4, 9, masks))
    torch.testing.assert_close(enlarged, F.interpolate(masks, size=(17, 9), mode="bilinear", align_corners=False))


def test_enlarging_and_blur_have_the_right_gradients() -> None:
    rows = gaussian_matrix(6, 1.0, DOUBLE) @ interpolation_matrix(3, 6, DOUBLE)
    columns = gaussian_matrix(7, 1.0, DOUBLE) @ interpolation_matrix(3, 7, DOUBLE)
    masks = torch.rand(2, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda masks: separable_filter(rows, masks, columns), masks)


def truncated_convolution(images: Tensor, sigma: float) -> Tensor:
    """(H, W) convolved with a Gaussian cut off at 3 σ, over the share of its weights that lies within the image."""
    radius = math.ceil(3 * sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=images.dtype)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (weights[:, None] * weights)[None, None]
    padded, ones = (F.conv2d(x[None, None], kernel, padding=radius)[0, 0] for x in (images, torch.ones_like(images)))
    return padded / ones


@given(height=st.integers(1, 12), width=st.integers(1, 12), sigma=st.floats(0.1, 6.0))
def test_truncated_blur_is_the_normalised_convolution(height: int, width: int, sigma: float) -> None:
    images = torch.rand(height, width, dtype=torch.float64)
    torch.testing.assert_close(gaussian_blur(images, sigma, truncate=3), truncated_convolution(images, sigma))


def test_truncated_blur_keeps_a_constant_and_the_mass_inside() -> None:
    assert torch.allclose(gaussian_blur(torch.full((9, 7), 3.0), 2.0, truncate=3), torch.full((9, 7), 3.0))
    spike = torch.zeros(41, 41)
    spike[20, 20] = 1
    blurred = gaussian_blur(spike, 2.0, truncate=3)
    assert blurred.sum() == pytest.approx(1, abs=1e-5)
    assert blurred[20, 22] / blurred[20, 20] == pytest.approx(np.exp(-0.5), rel=1e-5)
    assert not blurred[20, :14].any()
    assert blurred[20, 14] > 0


def test_truncated_blur_wider_than_the_map() -> None:
    assert gaussian_blur(torch.rand(3, 4), 20.0, truncate=3).isfinite().all()


def test_no_sigma_is_no_blur() -> None:
    heatmap = torch.rand(5, 5)
    assert gaussian_blur(heatmap, 0) is heatmap
    assert gaussian_blur(heatmap, 0, truncate=3) is heatmap


STRUCTURE = torch.rand(1, 7, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.3, -0.3, 1e-30, 3e4, 0.0])
@pytest.mark.parametrize("shape", [(1, 1), (3, 4)])
def test_a_constant_map_stays_exactly_constant(dtype: torch.dtype, value: float, shape: tuple[int, int]) -> None:
    maps = torch.full((2, 1, *shape), value, dtype=torch.float64).to(dtype)
    large = upsampled(maps, torch.empty(1, 3, 37, 53))
    assert torch.equal(large, maps[0, 0, 0, 0].expand(2, 1, 37, 53))
    assert degenerate(large).all()


def test_rounding_errors_of_a_constant_map_are_no_structure() -> None:
    noise = 0.3 * (1 + 5e-7 * STRUCTURE[:, None].float())
    assert constant(noise).all()
    assert constant(upsampled(noise, torch.empty(1, 3, 40, 40))).all()
    assert torch.equal(with_exact_constants(noise), noise[:, :, :1, :1].expand_as(noise))
    coarse = torch.full((1, 1, 1, 1), 0.3)
    assert constant(F.interpolate(coarse, (37, 53), mode="bilinear")).all()  # what others upsample


@pytest.mark.parametrize(
    "maps",
    [
        1e-12 * STRUCTURE.float(),
        1e-30 * STRUCTURE.float(),
        1e-300 * STRUCTURE,
        1e4 + STRUCTURE.float(),
        -1e5 + STRUCTURE,
        60000 * (2 * STRUCTURE - 1).half(),
        (1 + 1e-2 * STRUCTURE).half(),
        3e38 * (2 * STRUCTURE - 1).float(),
        STRUCTURE > 0.5,
        (255 * STRUCTURE).to(torch.uint8),
    ],
)
def test_small_maps_and_those_with_an_offset_are_not_degenerate(maps: Tensor) -> None:
    assert degenerate(maps).tolist() == [False]
    if maps.is_floating_point():
        large = upsampled(maps[None], torch.empty(1, 3, 21, 27))
        assert torch.equal(large, F.interpolate(maps[None], (21, 27), mode="bilinear"))


@pytest.mark.parametrize("spoil", [math.nan, math.inf, -math.inf])
def test_maps_with_nan_or_infinity_are_degenerate_and_not_constant(spoil: float) -> None:
    one, whole = STRUCTURE.clone(), torch.full_like(STRUCTURE, spoil)
    one[0, 2, 3] = spoil
    for maps in (one, whole):
        assert degenerate(maps).all()
        assert not constant(maps).any()
    assert degenerate(torch.zeros(3, 0, 4)).tolist() == [True] * 3
    assert degenerate(torch.zeros(0, 4, 4)).shape == (0,)
