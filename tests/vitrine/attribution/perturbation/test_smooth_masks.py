"""Smooth masks against a naive max-convolution."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vitrine.attribution.perturbation.smooth_masks import kernel, smooth_masks, smooth_maximum


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_the_kernel_has_the_papers_profile() -> None:
    distances = torch.tensor([0.0, 2, 7, 14, 21, 28, 41.9, 42, 100], dtype=torch.float64)
    expected = [1, 1, 1, math.exp(-0.25), math.exp(-1), math.exp(-2.25), math.exp(-((41.9 / 7 - 1) ** 2) / 4), 0, 0]
    torch.testing.assert_close(kernel(distances, 21.0), torch.tensor(expected, dtype=torch.float64))


def test_the_smooth_maximum_lies_between_mean_and_maximum() -> None:
    values = torch.rand(4, 9, dtype=torch.float64)
    torch.testing.assert_close(smooth_maximum(values, 1, 1e6), values.mean(dim=1), atol=1e-6, rtol=0)
    torch.testing.assert_close(smooth_maximum(values, 1, 1e-4), values.max(dim=1).values, atol=1e-6, rtol=0)
    assert smooth_maximum(values.float(), 1, 1e-6).isfinite().all()
    weights = (values / 0.05).exp()
    torch.testing.assert_close(smooth_maximum(values, 1, 0.05), (values * weights).sum(1) / weights.sum(1))
    assert torch.autograd.gradcheck(lambda values: smooth_maximum(values, 1, 0.3), values.requires_grad_())


def mirrored(place: int, length: int) -> int:
    """The place inside that one outside mirrors, over as many borders as lie between."""
    while not 0 <= place < length:
        place = -1 - place if place < 0 else 2 * length - 1 - place
    return place


def naive_products(seeds: Tensor, u: tuple[int, int], step: int, sigma: float) -> list[float]:
    """k(u − v)·m̄(v) of all points v of the square of cells around the pixel u's own."""
    reach, height, width = math.ceil(2 * sigma / step), *seeds.shape
    products = []
    for row in range(u[0] // step - reach, u[0] // step + reach + 1):
        for column in range(u[1] // step - reach, u[1] // step + reach + 1):
            v = [step * cell + (step - 1) / 2 for cell in (row, column)]
            near = seeds[mirrored(row, height), mirrored(column, width)]
            distance = torch.tensor(math.dist(u, v), dtype=torch.float64)
            products.append(float(kernel(distance, sigma) * near))
    return products


def resized(masks: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(masks, size=size, mode="bilinear", align_corners=False)


@pytest.mark.parametrize(("size", "step", "sigma"), [((12, 9), 3, 4.0), ((7, 10), 2, 2.3), ((5, 5), 4, 1.0)])
def test_smooth_masks_are_a_max_convolution(size: tuple[int, int], step: int, sigma: float) -> None:
    shape = [math.ceil(length / step) for length in size]
    seeds = torch.rand(2, 1, *shape, dtype=torch.float64)
    height, width = (step * length for length in shape)
    products = [
        [[naive_products(mask[0], (y, x), step, sigma) for x in range(width)] for y in range(height)] for mask in seeds
    ]
    values = torch.tensor(products, dtype=torch.float64)[:, None]
    for temperature in (0.05, 0.5):
        weights = (values / temperature).exp()
        expected = (values * weights).sum(dim=-1) / weights.sum(dim=-1)
        torch.testing.assert_close(smooth_masks(seeds, size, step, sigma, temperature), resized(expected, size))
    hard = resized(values.max(dim=-1).values, size)
    errors = [(smooth_masks(seeds, size, step, sigma, t) - hard).abs().max() for t in (0.2, 0.05, 0.01, 1e-5)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-4


def test_smooth_masks_have_the_right_gradient() -> None:
    seeds = torch.rand(1, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda seeds: smooth_masks(seeds, (8, 11), 3, 3.0, 0.1), seeds)


def test_smooth_masks_are_as_smooth_as_the_kernel() -> None:
    seeds = (torch.rand(1, 1, 10, 10, dtype=torch.float64) > 0.7).double()
    masks = smooth_masks(seeds, (40, 40), 4, 12.0, 1e-4)
    distances = torch.arange(0, 30, 0.01, dtype=torch.float64)
    steepest = kernel(distances, 12.0).diff()[:2000].abs().max() / 0.01
    assert masks.diff(dim=2).abs().max() <= steepest * 1.01
    assert masks.diff(dim=3).abs().max() <= steepest * 1.01
    assert masks.min() >= 0
    assert masks.max() <= 1 + 1e-12


def test_a_constant_seed_favours_no_place() -> None:
    seeds = torch.full((1, 1, 5, 6), 0.5, dtype=torch.float64, requires_grad=True)
    masks = smooth_masks(seeds, (15, 18), 3, 5.0, 0.05)
    cells = masks.view(5, 3, 6, 3)
    torch.testing.assert_close(cells, cells[:1, :, :1].expand_as(cells))
    (gradient,) = torch.autograd.grad(masks.sum(), seeds)
    torch.testing.assert_close(gradient, gradient.mean().expand_as(gradient))
    (gradient,) = torch.autograd.grad(smooth_masks(seeds, (13, 17), 3, 5.0, 0.05).sum(), seeds)
    assert (gradient.max() - gradient.min()) / gradient.mean() < 0.15  # where cells do not fit the image exactly
