"""Measures of heatmaps equal those of Quantus 0.6.0 where the definitions agree; ``quantus_values.py`` made its values."""

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.vitrine.metrics.quantus_values import PATCH, PATH, PERCENTAGES, SIDE, STEP, gradient_times_input, network
from vitrine.metrics import functional as M

SAVED: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
INPUTS, VALUES = SAVED["inputs"], SAVED["values"]
IMAGES, MAPS, NOISE = (torch.tensor(INPUTS[name], dtype=torch.float64) for name in ("images", "maps", "noise"))
TARGETS = torch.tensor(INPUTS["targets"])
MODEL = network(INPUTS)


def check(found: Tensor, name: str) -> None:
    torch.testing.assert_close(found, torch.tensor(VALUES[name], dtype=torch.float64), rtol=1e-6, atol=1e-6)


def test_sparseness_and_complexity() -> None:
    check(M.sparseness(MAPS), "sparseness")  # Quantus adds 1e-7 to each pixel
    check(M.complexity(MAPS), "complexity")


def test_pixel_flipping() -> None:
    steps = SIDE * SIDE // STEP
    curve = M.pixel_flipping_curve(MODEL, IMAGES, MAPS, TARGETS, 0.0, steps, 1, 1.0)
    check(curve[:, 1:], "pixel_flipping")  # Quantus leaves the whole image out


def test_infidelity_of_squares_that_are_removed_one_after_the_other() -> None:
    left = IMAGES.clone()
    perturbations = []
    for row in range(0, SIDE, PATCH):
        for column in range(0, SIDE, PATCH):
            left[..., row : row + PATCH, column : column + PATCH] = 0
            perturbations.append(IMAGES - left)
    check(M.infidelity(MODEL, IMAGES, MAPS, TARGETS, perturbations), "infidelity")


def test_max_sensitivity() -> None:
    maps = gradient_times_input(MODEL, IMAGES, TARGETS)
    found = M.max_sensitivity(lambda images: gradient_times_input(MODEL, images, TARGETS), IMAGES, maps, NOISE)
    check(found, "max_sensitivity")


def test_road() -> None:
    shares = [percentage / 100 for percentage in PERCENTAGES]
    curve = M.road_curve(MODEL, IMAGES, MAPS, TARGETS, shares, score="decision", noise=0.0)
    check(curve.mean(dim=0), "road")
    assert 0 < curve.mean() < 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_imputation(dtype: torch.dtype) -> None:
    removed = M.saliency_ranks(MAPS[:1]) < 40
    found = M.linear_imputation(IMAGES[:1].to(dtype), removed)
    assert found.dtype == dtype
    check(found[0].double(), "imputed")
