"""Masks, backgrounds and what is shown through them, against closed forms and naive versions."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vitrine.attribution.inversion.mask import MaskMaps, minmax_mask, over_maximum_mask
from vitrine.attribution.inversion.objective import BACKGROUND_SIGMA, background_of


def naive_bilinear(cells: Tensor, height: int, width: int, *, aligned: bool) -> Tensor:
    """(H, W) from (h, w): each pixel by its four neighbours, those outside taken from the border."""

    def source(place: int, length: int, short: int) -> float:
        if aligned:
            return place * (short - 1) / (length - 1)
        return min(max((place + 0.5) * short / length - 0.5, 0.0), short - 1.0)

    out = torch.zeros(height, width, dtype=cells.dtype)
    for y in range(height):
        for x in range(width):
            v, u = source(y, height, cells.shape[0]), source(x, width, cells.shape[1])
            top, left = int(v), int(u)
            bottom, right = min(top + 1, cells.shape[0] - 1), min(left + 1, cells.shape[1] - 1)
            upper = cells[top, left] * (1 - u + left) + cells[top, right] * (u - left)
            lower = cells[bottom, left] * (1 - u + left) + cells[bottom, right] * (u - left)
            out[y, x] = upper * (1 - v + top) + lower * (v - top)
    return out


def test_a_combination_is_the_weighted_sum() -> None:
    weights, activations = torch.rand(2, 5, dtype=torch.float64), torch.rand(2, 5, 3, 4, dtype=torch.float64)
    actual = MaskMaps((activations,)).combined(weights)
    for row in range(2):
        expected = sum(
            (weights[row, i] * activations[row, i] for i in range(5)), torch.zeros(3, 4, dtype=torch.float64)
        )
        torch.testing.assert_close(actual[row, 0], expected)
    assert MaskMaps((activations.bfloat16(),)).combined(weights.bfloat16()).dtype == torch.float32


def test_masks_of_a_known_map() -> None:
    maps = torch.tensor([[[[2.0, 6.0], [3.0, 4.0]]]], dtype=torch.float64)
    actual = minmax_mask(maps, (7, 5))[0, 0]
    expected = naive_bilinear(torch.tensor([[0.0, 1.0], [0.25, 0.5]], dtype=torch.float64), 7, 5, aligned=False)
    torch.testing.assert_close(actual, expected)
    assert float(actual.min()) == 0.0
    assert float(actual.max()) == 1.0
    released = over_maximum_mask(maps, (7, 5))[0, 0]
    torch.testing.assert_close(released, (naive_bilinear(maps[0, 0], 7, 5, aligned=True) - 2) / 6)
    assert float(released.max()) == pytest.approx(4 / 6)


@pytest.mark.parametrize("value", [0.0, 3.0])
@pytest.mark.parametrize("mask_of", [minmax_mask, over_maximum_mask])
def test_a_constant_map_shows_nothing_and_its_gradient_is_finite(value: float, mask_of: object) -> None:
    maps = torch.full((2, 1, 3, 3), value, dtype=torch.float64, requires_grad=True)
    masks = mask_of(maps, (8, 8))  # type: ignore[operator]
    assert float(masks.detach().abs().max()) < 1e-12
    (gradient,) = torch.autograd.grad((masks * torch.rand(8, 8)).sum(), maps)
    assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("mask_of", [minmax_mask, over_maximum_mask])
def test_gradients_go_through_minimum_and_maximum(mask_of: object) -> None:
    maps = torch.rand(2, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m: mask_of(m, (6, 5)), maps)  # type: ignore[operator]


def test_a_mask_does_not_depend_on_the_scale_of_its_weights() -> None:
    weights, activations = torch.rand(1, 5, dtype=torch.float64), torch.rand(1, 5, 3, 3, dtype=torch.float64)
    for mask_of in (minmax_mask, over_maximum_mask):
        masks = [mask_of(MaskMaps((activations,)).combined(scale * weights), (9, 9)) for scale in (1, 1e-6)]
        torch.testing.assert_close(masks[0], masks[1])


def test_the_blur_is_a_gaussian_of_eleven_pixels() -> None:
    constant = torch.full((1, 3, 40, 30), 0.7, dtype=torch.float64)
    torch.testing.assert_close(background_of(constant, "blur"), constant)
    point = torch.zeros(1, 1, 201, 201, dtype=torch.float64)
    point[0, 0, 100, 100] = 1
    blurred = background_of(point, "blur")[0, 0]
    assert BACKGROUND_SIGMA == 11
    for distance in (1, 5, 11, 22):
        fall = math.exp(-0.5 * (distance / BACKGROUND_SIGMA) ** 2)
        assert float(blurred[100, 100 + distance] / blurred[100, 100]) == pytest.approx(fall)
        assert float(blurred[100 - distance, 100] / blurred[100, 100]) == pytest.approx(fall)
    assert float(blurred.sum()) == pytest.approx(1)


def test_noise_is_the_same_for_every_image_and_in_every_batch() -> None:
    images = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    state = torch.get_rng_state()
    noise = background_of(images, "noise", seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(noise[row], noise[0]) for row in range(4))
    assert torch.equal(background_of(images[2:3], "noise", seed=3)[0], noise[0])
    assert not torch.equal(background_of(images, "noise", seed=4), noise)
    assert float(noise[0].mean()) == pytest.approx(0, abs=0.15)
    assert float(noise[0].std()) == pytest.approx(1, abs=0.1)


def test_the_mean_colour_of_a_normalised_image_is_zero() -> None:
    assert not background_of(torch.randn(2, 3, 5, 5), "mean").any()


def test_the_naive_version_is_torchs() -> None:
    cells = torch.rand(3, 4, dtype=torch.float64)
    for aligned in (False, True):
        expected = F.interpolate(cells[None, None], (7, 9), mode="bilinear", align_corners=aligned)[0, 0]
        torch.testing.assert_close(naive_bilinear(cells, 7, 9, aligned=aligned), expected)


@pytest.mark.parametrize("mask_of", [minmax_mask, over_maximum_mask])
def test_rounding_errors_of_a_constant_map_show_nothing(mask_of: object) -> None:
    maps = torch.full((1, 1, 1, 1), 0.3), 0.3 * (1 + 5e-7 * torch.rand(3, 1, 5, 4))
    for constant in maps:
        assert not mask_of(constant, (37, 53)).any()  # type: ignore[operator]
    small = 1e-12 * torch.rand(1, 1, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(mask_of(small, (9, 9)), mask_of(1e12 * small, (9, 9)))  # type: ignore[operator]
