"""Noisy linear imputation of removed pixels (ROAD: Rong, Leemann, Borisov, Kasneci and Kasneci, ICML 2022)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrine.core.image_ops import interpolation_matrix, separable_filter
from vitrine.core.precision import in_full, without_autocast
from vitrine.metrics.functional.checks import checked_images

NEIGHBOURS = ((1 / 12, 1 / 6, 1 / 12), (1 / 6, 0.0, 1 / 6), (1 / 12, 1 / 6, 1 / 12))
"""Weights of a pixel's eight neighbours."""

HAT_ENERGY = 8 / 9
"""vᵀ A v of a hat function v on a grid of any width, far from kept pixels."""

MAX_ITERATIONS = 1000


def linear_imputation(images: Tensor, removed: Tensor, noise: Tensor | float = 0.0) -> Tensor:
    """Images whose removed pixels are the weighted means of their neighbours, plus noise.

    Each removed pixel is the mean of its eight neighbours, of which direct ones weigh 1/6 and diagonal ones 1/12, kept or
    removed; at the border the weights of those that exist are scaled to a sum of 1. That is one linear system of equations
    for each image and channel, which is solved by conjugate gradients.

    Args:
        images: (B, C, H, W).
        removed: (B, H, W) bool; not all of an image.
        noise: what is added to the removed pixels, a number or a tensor that broadcasts to the images.

    Returns:
        (B, C, H, W), of the images' type; kept pixels are as they were.

    Raises:
        ValueError: for another size of ``removed``, images that are not finite floats, and one without kept pixels.

    Example:
        >>> row = torch.tensor([0.0, 9.0, 9.0, 3.0]).expand(1, 1, 1, 4)
        >>> linear_imputation(row, torch.tensor([[[False, True, True, False]]])).flatten().round(decimals=4).tolist()
        [0.0, 1.0, 2.0, 3.0]
    """
    checked_images(images, removed, "removed")
    if bool(removed.flatten(1).all(dim=1).any()):
        raise ValueError("removed leaves an image without pixels, so that nothing tells its colours; keep one or more.")
    free = removed.to(images.device)[:, None]
    wide = in_full(images)
    with without_autocast(wide):
        system = _System(free, wide)
        solution = conjugate_gradients(system.product, system.preconditioned, system.right_side(wide), wide)
    imputed = torch.where(free, solution + noise, wide).to(images.dtype)
    return torch.where(free, imputed, images)


class _System:
    """A x = b of the removed pixels, A = S − W: S the sums of the weights of a pixel's neighbours, W those of removed ones.

    Vectors are (B, C, H, W) and 0 where pixels are kept. A is symmetric and positive definite.

    Args:
        free: (B, 1, H, W) bool, the removed pixels.
        like: has the type and device of the numbers.
    """

    def __init__(self, free: Tensor, like: Tensor) -> None:
        self.free = free.to(like.dtype)
        self.kernel = torch.tensor(NEIGHBOURS, dtype=like.dtype, device=like.device)[None, None]
        self.weights = self.neighbours(torch.ones_like(self.free[:1]))
        pull = self.free * self.neighbours(1 - self.free)
        self.levels = [(*matrices, _diagonal(pull, *matrices)) for matrices in _coarse_grids(free.shape[-2:], like)]

    def neighbours(self, values: Tensor) -> Tensor:
        """Weighted sums of all neighbours."""
        return F.conv2d(values.flatten(0, 1)[:, None], self.kernel, padding=1).view_as(values)

    def right_side(self, images: Tensor) -> Tensor:
        """What the kept neighbours add."""
        return self.free * self.neighbours(images * (1 - self.free))

    def product(self, values: Tensor) -> Tensor:
        """A v."""
        return self.weights * values - self.free * self.neighbours(values)

    def preconditioned(self, residual: Tensor) -> Tensor:
        """An approximation of A⁻¹ r: a sum over grids of different widths (Bramble, Pasciak and Xu 1990)."""
        total = residual / self.weights
        for rows, columns, diagonal in self.levels:
            coarse = separable_filter(rows.mT, residual, columns.mT) / diagonal
            total = total + separable_filter(rows, coarse, columns)
        return self.free * total


def _coarse_grids(size: tuple[int, ...], like: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(H, h) and (W, w) matrices of bilinear interpolation from grids of ¼, 1/16, … as many rows and columns.

    Steps of ½ take 2 iterations fewer of 30, each of which then takes a third longer.
    """
    grids, cells = [], list(size)
    while max(cells) > 1:
        cells = [-(-cell // 4) for cell in cells]
        rows, columns = (interpolation_matrix(cell, length, like) for cell, length in zip(cells, size, strict=True))
        grids.append((rows, columns))
    return grids


def _diagonal(pull: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """About the diagonal of Pᵀ A P: a hat's own energy, and what kept pixels within it add."""
    return HAT_ENERGY + separable_filter(rows.square().mT, pull, columns.square().mT)


def conjugate_gradients(
    product: Callable[[Tensor], Tensor], preconditioned: Callable[[Tensor], Tensor], right_side: Tensor, like: Tensor
) -> Tensor:
    """Solves A x = b for each of B systems on their own; each ends when its own residual is small.

    Args:
        product: A v.
        preconditioned: an approximation of A⁻¹ r.
        right_side: b (B, …).
        like: its type says how small: 10⁻⁶ of b in float32, 10⁻¹⁴ in float64, in the preconditioner's norm.
    """
    tolerance = 1e-14 if like.dtype == torch.float64 else 1e-6
    solution, residual = torch.zeros_like(right_side), right_side.clone()
    direction = preconditioned(residual)
    size = _dots(residual, direction)
    small = size * tolerance**2
    for _ in range(MAX_ITERATIONS):
        active = size > small
        if not bool(active.any()):
            break
        image = product(direction)
        step = torch.where(active, size / _dots(direction, image).where(active, 1), 0)
        solution = solution + step * direction
        residual = residual - step * image
        better = preconditioned(residual)
        new_size = torch.where(active, _dots(residual, better), size)
        direction = better + torch.where(active, new_size / size.where(size != 0, 1), 0) * direction
        size = new_size
    return solution


def _dots(first: Tensor, second: Tensor) -> Tensor:
    """(B, 1, …) products of vectors (B, …)."""
    return (first * second).flatten(1).sum(dim=1).view(-1, *[1] * (first.ndim - 1))
