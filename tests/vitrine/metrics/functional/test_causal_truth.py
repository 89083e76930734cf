"""Importance of parts, drops of logits and their rank correlation, against SciPy and closed forms."""

import math

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from vitrine.metrics.functional import logit_drops, part_importance, rank_correlation


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_rank_correlation_is_that_of_scipy_with_ties_and_gaps() -> None:
    values = torch.randint(0, 4, (2, 200, 6), generator=generator()).double()
    first, second = values.masked_fill(torch.rand(2, 200, 6, generator=generator(1)) < 0.1, torch.nan)
    found = rank_correlation(first, second)
    for row in range(200):
        both = ~(first[row].isnan() | second[row].isnan())
        one, other = first[row][both], second[row][both]
        told = len(one) > 1 and one.min() < one.max() and other.min() < other.max()
        expected = spearmanr(one.numpy(), other.numpy()).statistic if told else math.nan
        assert float(found[row]) == pytest.approx(expected, nan_ok=True), (one, other)
    assert found.isnan().any()


def test_importance_is_the_mean_or_sum_on_a_parts_pixels() -> None:
    maps, parts = torch.randn(3, 5, 7, generator=generator()), torch.randint(0, 5, (3, 5, 7), generator=generator(1))
    parts[parts == 3] = 9  # an id that is none of the parts, and a part without pixels
    for reduction in ("mean", "sum"):
        found = part_importance(maps, parts, 4, reduction)
        for image in range(3):
            for part in range(4):
                pixels = maps[image][parts[image] == part + 1].double()
                expected = float(getattr(pixels, reduction)()) if len(pixels) else math.nan
                assert float(found[image, part]) == pytest.approx(expected, nan_ok=True)
    assert part_importance(maps.masked_fill(parts == 1, torch.nan), parts, 4).isnan().sum(dim=1).tolist() == [2] * 3


def test_drops_are_differences_of_the_targets_logits() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    images, without = (
        torch.randn(5, 3, 2, 2, generator=generator()),
        torch.randn(5, 20, 3, 2, 2, generator=generator(1)),
    )
    without[:, 7] = images
    targets = torch.tensor([0, 1, 2, 0, 1])
    found = logit_drops(network, images, without, targets)  # 105 images, more than one forward pass takes
    for image in range(5):
        with torch.no_grad():
            whole, parts = network(images[image : image + 1]), network(without[image])
        expected = (whole - parts)[:, targets[image]].double()
        torch.testing.assert_close(found[image], expected, atol=1e-5, rtol=1e-5)
    assert (found[:, 7] == 0).all()  # not a rounding error


def test_no_images_have_no_drops() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    none = torch.zeros(0, dtype=torch.int64)
    assert logit_drops(network, torch.zeros(0, 3, 2, 2), torch.zeros(0, 4, 3, 2, 2), none).shape == (0, 4)


def classify(images: Tensor) -> Tensor:
    return images.mean(dim=(2, 3))


@pytest.mark.parametrize(
    ("shape", "targets", "message"),
    [
        ((2, 3, 3, 4, 5), [0, 1], r"counterfactuals has the shape \(2, 3, 3, 4, 5\), the images \(2, 3, 4, 4\)"),
        ((1, 3, 3, 4, 4), [0, 1], r"counterfactuals has the shape \(1, 3, 3, 4, 4\)"),
        ((2, 3, 4, 4), [0, 1], r"counterfactuals has the shape \(2, 3, 4, 4\)"),
        ((2, 3, 3, 4, 4), [0], r"targets has the shape \(1,\)"),
        ((2, 3, 3, 4, 4), [0, 3], "targets holds 3"),
    ],
)
def test_counterfactuals_that_do_not_fit(shape: tuple[int, ...], targets: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        logit_drops(classify, torch.zeros(2, 3, 4, 4), torch.zeros(shape), torch.tensor(targets))


def test_parts_and_rows_that_do_not_fit() -> None:
    maps = torch.zeros(2, 4, 4)
    for parts in (torch.zeros(2, 4, 5, dtype=torch.int64), torch.zeros(2, 4, 4)):
        with pytest.raises(ValueError, match="parts is torch"):
            part_importance(maps, parts, 2)
    with pytest.raises(ValueError, match=r"^num_parts is 0; give "):
        part_importance(maps, torch.zeros(2, 4, 4, dtype=torch.int64), 0)
    with pytest.raises(ValueError, match=r"first is \(2, 3\), second \(2, 4\)"):
        rank_correlation(torch.zeros(2, 3), torch.zeros(2, 4))
