"""RISE against a naive loop, and against the expectation for a linear model."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrine.attribution.perturbation.rise import RISE, enlarge, random_cells
from vitrine.backbones.batch_mixing import mixes_batch


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def naive_mask(cells: Tensor, place: Tensor, height: int, width: int) -> Tensor:
    """The paper's recipe for one mask, pixel by pixel."""
    rows, columns = cells.shape
    step_y, step_x = math.ceil(height / rows), math.ceil(width / columns)
    top, left = int(place[0] * step_y), int(place[1] * step_x)
    mask = torch.zeros(height, width, dtype=cells.dtype)
    for y in range(height):
        for x in range(width):
            # the middle of a pixel of the enlarged grid, in cells, between the middles of the border cells
            v = min(max((y + top + 0.5) * rows / ((rows + 1) * step_y) - 0.5, 0), rows - 1)
            u = min(max((x + left + 0.5) * columns / ((columns + 1) * step_x) - 0.5, 0), columns - 1)
            v0, u0 = min(int(v), rows - 2), min(int(u), columns - 2)
            upper = (1 - u + u0) * cells[v0, u0] + (u - u0) * cells[v0, u0 + 1]
            lower = (1 - u + u0) * cells[v0 + 1, u0] + (u - u0) * cells[v0 + 1, u0 + 1]
            mask[y, x] = (1 - v + v0) * upper + (v - v0) * lower
    return mask


def all_masks(method: RISE, size: tuple[int, int]) -> Tensor:
    cells, places = random_cells(method.n_samples, method.grid, method.probability, method.seed)
    return torch.stack([naive_mask(*mask, *size) for mask in zip(cells.double(), places, strict=True)])


@pytest.mark.parametrize("size", [(14, 14), (13, 9), (5, 21)])
def test_masks_are_enlarged_and_cut_as_in_the_paper(size: tuple[int, int]) -> None:
    cells, places = torch.rand(6, 4, 3, dtype=torch.float64), torch.rand(6, 2)
    expected = torch.stack([naive_mask(*mask, *size) for mask in zip(cells, places, strict=True)])
    torch.testing.assert_close(enlarge(cells, places, size), expected)


def test_a_pixel_is_seen_with_the_probability_on_average() -> None:
    count, probability = 3000, 0.3
    cells, places = random_cells(count, 4, probability, seed=1)
    masks = enlarge(cells.double(), places, (10, 12))
    assert masks.min() >= 0
    assert masks.max() <= 1 + 1e-12
    standard_errors = (masks.mean(dim=0) - probability) / (masks.std(dim=0) / count**0.5)
    assert standard_errors.abs().max() < 4.5  # of 120 pixels, in 3000 masks
    assert cells.double().mean().sub(probability).abs() < 4 * (0.21 / cells.numel()) ** 0.5


def test_the_seed_makes_the_masks() -> None:
    same, again, other = (random_cells(20, 5, 0.5, seed) for seed in (3, 3, 4))
    assert torch.equal(same[0], again[0])
    assert torch.equal(same[1], again[1])
    assert not torch.equal(same[0], other[0])
    assert not torch.equal(same[1], other[1])


def test_it_is_the_mean_of_masks_weighted_by_probabilities() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 9 * 6, 5)).double()
    inputs, targets = torch.randn(2, 3, 11, 8, dtype=torch.float64), torch.tensor([[2, 0, 4], [1, 3, 1]])
    method = RISE(model, n_samples=40, grid=3, probability=0.4, seed=5)
    expected = torch.zeros(2, 3, 1, 11, 8, dtype=torch.float64)
    with torch.no_grad():
        for mask in all_masks(method, (11, 8)):
            for b in range(2):
                for k in range(3):
                    probability = model(mask * inputs[b : b + 1]).softmax(dim=1)[0, targets[b, k]]
                    expected[b, k, 0] += probability * mask / (40 * 0.4)
    torch.testing.assert_close(method.attribute(inputs, targets), expected)


class Weighted(nn.Module):
    """Its layer's only channel is Σ w·x: linear in the pixels."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.sum = nn.Conv2d(1, 1, (weights.shape[0], weights.shape[1]), bias=False, dtype=weights.dtype)
        self.sum.weight = nn.Parameter(weights[None, None])

    def forward(self, images: Tensor) -> Tensor:
        total: Tensor = self.sum(images)
        return total.flatten(1)


def expected_map(contributions: Tensor, grid: int, probability: float) -> Tensor:
    """E[Σ_v a_v M_v · M_u] / p = (Σ_v a_v Cov(M_v, M_u) + p² Σ_v a_v) / p, over all places of the crop."""
    size = contributions.shape
    steps = [math.ceil(length / grid) for length in size]
    one_cell = torch.eye(grid**2, dtype=torch.float64).view(-1, grid, grid)
    total = torch.zeros_like(contributions)
    for top in range(steps[0]):
        for left in range(steps[1]):
            place = torch.tensor([top / steps[0], left / steps[1]], dtype=torch.float64)
            basis = enlarge(one_cell, place.expand(grid**2, 2) + 1e-9, size).flatten(1)  # a mask is cells @ basis
            covariance = probability * (1 - probability) * basis.T @ basis
            total += (contributions.flatten() @ covariance).view(size)
    return (total / math.prod(steps) + probability**2 * contributions.sum()) / probability


def test_a_linear_score_has_its_expectation() -> None:
    weights = torch.zeros(12, 12, dtype=torch.float64)
    weights[1:5, 6:11] = 1
    image = 1 + torch.rand(1, 1, 12, 12, dtype=torch.float64)
    model, count, probability = Weighted(weights), 4000, 0.4
    method = RISE(model, "sum", n_samples=count, grid=4, probability=probability)
    saliency = method.attribute(image, channel=0)[0, 0]
    cells, places = random_cells(count, 4, probability, seed=0)
    masks = enlarge(cells.double(), places, (12, 12))
    samples = (masks * image[0] * weights).sum(dim=(1, 2))[:, None, None] * masks / probability
    errors = (saliency - expected_map(weights * image[0, 0], 4, probability)) / (samples.std(dim=0) / count**0.5)
    assert errors.abs().max() < 4  # standard errors, of 144 correlated pixels
    assert saliency[weights > 0].min() > 1.2 * saliency[:, :3].max()
    assert weights.flatten()[saliency.argmax()] == 1


def test_a_score_that_no_pixel_changes_is_flat_but_for_the_masks() -> None:
    class Constant(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.new_tensor([[0.0, math.log(3)]]).expand(len(images), 2)

    maps = RISE(Constant(), n_samples=2000, grid=4).attribute(torch.randn(1, 2, 8, 8), 1)
    torch.testing.assert_close(maps, torch.full_like(maps, 0.75), atol=0.05, rtol=0)


def test_masks_are_made_in_chunks() -> None:
    recorded: list[int] = []
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    inputs = torch.randn(3, 3, 4, 4)
    mixes_batch(model, inputs)  # found once for each model, by passes of its own
    model.register_forward_pre_hook(lambda _module, args: recorded.append(len(args[0])))
    RISE(model, n_samples=100, grid=2).attribute(inputs, 1)
    assert max(recorded) <= 64
    assert sum(recorded) == 303  # and the inputs themselves
    recorded.clear()
    RISE(model, n_samples=100, grid=2, internal_batch_size=7).attribute(inputs, torch.tensor([[0, 1]] * 3))
    assert sorted(set(recorded)) == [3, 6]
    assert sum(recorded) == 303  # whatever the number of targets


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probability": 0.0}, "probability is 0.0"),
        ({"probability": 1.0}, "probability is 1.0"),
        ({"n_samples": 0}, "n_samples is 0"),
        ({"grid": 0}, "grid is 0"),
        ({"probability": float("nan")}, "probability is nan"),
        ({"masks": 100}, "'masks'.*'n_samples'"),
    ],
)
def test_wrong_options_are_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RISE(nn.Identity(), **options)  # type: ignore[arg-type]


def test_bilinear_naive_masks_are_torchs() -> None:
    cells = torch.rand(1, 1, 3, 3, dtype=torch.float64)
    whole = F.interpolate(cells, size=(16, 16), mode="bilinear", align_corners=False)[0, 0, :12, :12]
    torch.testing.assert_close(naive_mask(cells[0, 0], torch.zeros(2), 12, 12), whole)
