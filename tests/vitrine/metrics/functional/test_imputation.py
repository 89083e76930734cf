"""Linear imputation: a dense solve of the system, planes and constants, and many shapes of what is removed."""

import pytest
import torch
from torch import Tensor

from vitrine.metrics.functional.imputation import linear_imputation

OFFSETS = {(i, j): 1 / 6 if 0 in (i, j) else 1 / 12 for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)}


def dense(image: Tensor, removed: Tensor) -> Tensor:
    """The image whose removed pixels are means of their neighbours, by a dense solve."""
    height, width = removed.shape
    places = [tuple(place) for place in removed.nonzero().tolist()]
    matrix = torch.zeros(len(places), len(places), dtype=image.dtype)
    right = torch.zeros(len(places), len(image), dtype=image.dtype)
    for row, (y, x) in enumerate(places):
        for (i, j), weight in OFFSETS.items():
            other = (y + i, x + j)
            if not (0 <= other[0] < height and 0 <= other[1] < width):
                continue
            matrix[row, row] += weight
            if removed[other]:
                matrix[row, places.index(other)] -= weight
            else:
                right[row] += weight * image[:, *other]
    filled = image.clone()
    filled[:, removed] = torch.linalg.solve(matrix, right).T
    return filled


def removals(height: int, width: int) -> Tensor:
    """(6, H, W): random pixels, few and many; a square; a border; all but one; and none."""
    generator = torch.Generator().manual_seed(0)
    removed = torch.zeros(6, height, width, dtype=torch.bool)
    removed[0] = torch.rand(height, width, generator=generator) < 0.2
    removed[1] = torch.rand(height, width, generator=generator) < 0.9
    removed[2, height // 4 : height - 1, width // 4 : width - 1] = True
    removed[3] = True
    removed[3, 1:-1, 1:-1] = False
    removed[4] = True
    removed[:, height // 2, 1] = False
    return removed


@pytest.mark.parametrize(("height", "width"), [(9, 7), (16, 16), (3, 12), (1, 9)])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_solves_the_system(height: int, width: int, dtype: torch.dtype, close: float) -> None:
    removed = removals(height, width)
    images = torch.randn(6, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = linear_imputation(images.to(dtype), removed)
    for row in range(6):
        expected = dense(images[row], removed[row])
        torch.testing.assert_close(found[row].double(), expected, rtol=0, atol=close)
        assert torch.equal(found[row][:, ~removed[row]], images[row].to(dtype)[:, ~removed[row]])
        alone = linear_imputation(images[row : row + 1].to(dtype), removed[row : row + 1])
        torch.testing.assert_close(alone[0], found[row], rtol=0, atol=close)


def test_large_holes_converge() -> None:
    """The residual of each removed pixel of a large image, of which most is missing."""
    images = torch.randn(1, 1, 96, 80, generator=torch.Generator().manual_seed(0))
    removed = torch.ones(1, 96, 80, dtype=torch.bool)
    removed[0, 3, 5] = removed[0, 90, 70] = False
    found = linear_imputation(images, removed)[0, 0].double()
    low, high = sorted([float(images[0, 0, 3, 5]), float(images[0, 0, 90, 70])])
    assert low - 1e-4 <= float(found.min()) <= float(found.max()) <= high + 1e-4
    inner = found[1:-1, 1:-1]
    means = sum(weight * found[1 + i : 95 + i, 1 + j : 79 + j] for (i, j), weight in OFFSETS.items())
    assert float((means - inner).abs()[removed[0, 1:-1, 1:-1]].max()) < 1e-5


def test_noise_is_added_to_removed_pixels_alone() -> None:
    images = torch.full((2, 3, 8, 8), 5.0)
    removed = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.5
    noise = torch.randn(2, 3, 8, 8)
    expected = images + noise * removed[:, None]
    torch.testing.assert_close(linear_imputation(images, removed, noise), expected, rtol=0, atol=1e-4)
    half = linear_imputation(images.bfloat16(), removed)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half, images.bfloat16())


def test_autocast_does_not_reach_the_solver() -> None:
    images, removed = torch.randn(1, 3, 8, 8), torch.rand(1, 8, 8) < 0.7
    with torch.autocast("cpu", torch.bfloat16):
        found = linear_imputation(images, removed)
    torch.testing.assert_close(found, linear_imputation(images, removed), rtol=0, atol=0)


def test_something_has_to_be_kept() -> None:
    with pytest.raises(ValueError, match="removed leaves an image without pixels"):
        linear_imputation(torch.zeros(1, 3, 4, 4), torch.ones(1, 4, 4, dtype=torch.bool))
