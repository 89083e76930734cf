"""The colour maps, also as people with colour blindness see them (Machado, Oliveira and Fernandes 2009)."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vitrine.visualization.colour_map import NEGATIVE, POSITIVE, colours, exact_colours, opacities

SIMULATIONS = {
    "full": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
}
"""Linear RGB as it is seen, with full severity."""


def linear(colour: NDArray[np.uint8]) -> NDArray[np.float64]:
    values = np.asarray(colour) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lightness(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE L* of linear RGB, by its definition."""
    return 116 * np.cbrt((rgb @ np.array([0.2126, 0.7152, 0.0722])).clip(1e-9)) - 16


@pytest.mark.parametrize("sight", SIMULATIONS)
def test_colours_grow_lighter_for_everyone(sight: str) -> None:
    seen = linear(colours(torch.linspace(0, 1, 21))) @ np.array(SIMULATIONS[sight]).T
    steps = np.diff(lightness(seen.clip(0, 1)))
    assert steps.min() > 0
    assert steps.max() < 3 * steps.mean()


@pytest.mark.parametrize("sight", SIMULATIONS)
def test_signs_are_told_apart_by_everyone(sight: str) -> None:
    """Blue minus yellow, which red-green blindness leaves, differs in sign."""
    positive, negative = (linear(np.array(c, np.uint8)) @ np.array(SIMULATIONS[sight]).T for c in (POSITIVE, NEGATIVE))
    assert negative[2] - negative[:2].mean() > 0.2
    assert positive[:2].mean() - positive[2] > 0.2


def test_the_steps_of_the_colour_map_are_those_of_its_formula() -> None:
    strengths = torch.cat([torch.rand(300_000, generator=torch.Generator().manual_seed(0)), torch.tensor([0.0, 1.0])])
    exact = exact_colours(strengths.double().numpy())
    assert np.array_equal(colours(strengths), exact)
    square = strengths[:64].view(8, 8)
    assert np.array_equal(colours(square), exact[:64].reshape(8, 8, 3))


def test_opacities_grow_from_nothing_to_all() -> None:
    found = opacities(torch.linspace(0, 1, 11)).astype(int)
    assert (found[0], found[-1]) == (0, 255)
    assert (np.diff(found) > 0).all()
