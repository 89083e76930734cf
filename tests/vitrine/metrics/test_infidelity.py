"""Infidelity as a metric: the function's values, with each image's own perturbations."""

import pytest
import torch

from tests.vitrine.metrics.test_row_means import IMAGES, KEYS, MAPS, MODEL, TARGETS, take
from vitrine.core.options import OptionError
from vitrine.metrics import Infidelity, InfidelityOptions
from vitrine.metrics.functional import KeyNoise, gaussian_perturbations, infidelity, square_perturbations


def test_values_are_those_of_the_function() -> None:
    rows, images, draws = slice(2, 4), IMAGES[2:4], KeyNoise(5, KEYS[2:4], 2)
    squares = square_perturbations(images, draws, 6, 3)
    expected = infidelity(MODEL, images, MAPS[rows], TARGETS[rows], squares, normalize=True)
    found = take(Infidelity(MODEL, InfidelityOptions(6, "square", 3, seed=5)), rows)["infidelity"]
    # The aggregated map is the map over its sum, which its best scale makes up for.
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)
    noise = gaussian_perturbations(images, KeyNoise(5, KEYS[2:4], 2), 6, 0.4)
    expected = infidelity(MODEL, images, MAPS[rows], TARGETS[rows], noise, "probability", normalize=True)
    options = InfidelityOptions(6, "gaussian", sigma=0.4, score="probability", seed=5)
    torch.testing.assert_close(take(Infidelity(MODEL, options), rows)["infidelity"], expected, rtol=1e-5, atol=0)


def test_the_seed_counts() -> None:
    first, second = (take(Infidelity(MODEL, InfidelityOptions(6, size=2, seed=seed)), slice(2, 4)) for seed in (0, 1))
    assert (first["infidelity"] != second["infidelity"]).all()


def test_wrong_options() -> None:
    with pytest.raises(OptionError, match=r"^sigma is 0"):
        InfidelityOptions(sigma=0)
