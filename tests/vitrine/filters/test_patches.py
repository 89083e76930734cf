"""Cutting, padding and averaging against loops over pixels."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitrine.filters.patches import Box, PatchMean, crop, fit_size, resize

BOXES = st.builds(lambda x, y, w, h: Box(x, y, x + w, y + h), *[st.integers(-8, 12)] * 2, *[st.integers(1, 9)] * 2)


@given(BOXES)
@settings(max_examples=200)
def test_pixels_outside_are_zero_and_those_inside_the_images(box: Box) -> None:
    stack = torch.arange(1.0, 2 * 5 * 7 + 1).view(2, 5, 7)
    patch = crop(stack, box)
    assert patch.shape == (2, *box.size)
    for row in range(box.size[0]):
        for column in range(box.size[1]):
            y, x = box.y0 + row, box.x0 + column
            expected = stack[:, y, x] if 0 <= y < 5 and 0 <= x < 7 else torch.zeros(2)
            assert torch.equal(patch[:, row, column], expected)


@given(BOXES, st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=100)
def test_a_box_is_made_smaller_about_its_middle(box: Box, height: int, width: int) -> None:
    small = box.shrink_to(height, width)
    assert small.size == (min(box.size[0], height), min(box.size[1], width))
    assert abs((small.x0 + small.x1) - (box.x0 + box.x1)) <= 1
    assert abs((small.y0 + small.y1) - (box.y0 + box.y1)) <= 1


@pytest.mark.parametrize(
    ("size", "expected"), [((11, 11), (11, 11)), ((200, 100), (96, 48)), ((96, 97), (95, 96)), ((1000, 2), (96, 1))]
)
def test_only_what_is_too_large_is_brought_down(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fit_size(size, 96) == expected


def test_a_patch_of_the_right_size_is_left_alone() -> None:
    patch = torch.rand(3, 4, 5)
    assert resize(patch, (4, 5)) is patch


def test_resizing_keeps_the_mean_of_even_parts() -> None:
    assert torch.allclose(resize(torch.ones(2, 9, 12), (3, 4)), torch.ones(2, 3, 4))


def test_the_mean_is_that_of_all_patches_in_float64() -> None:
    patches = torch.rand(50, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    mean = PatchMean(2, (3, 4))
    for patch in patches:
        mean.add(patch)
    mean.sum_over_ranks(torch.device("cpu"))
    assert mean.count == 50
    torch.testing.assert_close(mean.mean(), patches.double().mean(dim=0), rtol=1e-14, atol=1e-15)


def test_no_patch_no_mean() -> None:
    assert PatchMean(2, (3, 4)).mean().isnan().all()
