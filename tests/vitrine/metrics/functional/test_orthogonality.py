"""Correlations between heatmaps: closed forms, and NumPy's."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vitrine.metrics.functional import (
    map_moments,
    orthogonality,
    orthogonality_of_moments,
    pooled_moments,
)


def naive(maps: Tensor) -> tuple[float, float]:
    """NumPy's correlation coefficients and log determinant of the vectors end to end."""
    vectors = maps.double().transpose(0, 1).flatten(1).numpy()
    correlation = np.corrcoef(vectors)
    return float(np.linalg.norm(correlation) - np.sqrt(len(vectors))), -float(np.linalg.slogdet(correlation)[1])


def floats(pair: Sequence[Tensor]) -> list[float]:
    return [float(value) for value in pair]


@given(
    seed=st.integers(0, 999),
    images=st.integers(1, 4),
    features=st.integers(2, 6),
    offset=st.sampled_from([0.0, 1.0, -300.0]),
    scale=st.sampled_from([1e-12, 1.0, 1e9]),
)
def test_it_is_numpys(seed: int, images: int, features: int, offset: float, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(features, features, generator=generator).double()
    maps = torch.randn(images, features, 4, 5, generator=generator).double()
    maps = scale * (torch.einsum("kl,mlhw->mkhw", mixed, maps) + offset)
    assert floats(orthogonality(maps)) == pytest.approx(naive(maps), rel=1e-6, abs=1e-9)


def test_uncorrelated_maps_are_0_and_0() -> None:
    maps = torch.tensor([[1.0, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]).reshape(1, 3, 2, 2)
    for shifted in (maps, 7 * maps + 0.3, maps.repeat(5, 1, 1, 1)):
        assert floats(orthogonality(shifted)) == pytest.approx([0, 0], abs=1e-12)


@pytest.mark.parametrize("n", [2, 5])
def test_identical_maps_are_as_bad_as_can_be(n: int) -> None:
    one = torch.randn(3, 1, 50, 60, generator=torch.Generator().manual_seed(n))
    o1, o2 = orthogonality(one.repeat(1, n, 1, 1))
    assert float(o1) == pytest.approx(n - math.sqrt(n), abs=1e-12)
    assert o2 == torch.inf
    factors = torch.arange(1.0, n + 1)[:, None, None] / 3
    opposite = torch.where(torch.arange(n)[:, None, None] % 2 == 0, 1.0, -1.0)
    o1, o2 = orthogonality(opposite * factors.double() * one.double() + factors)
    assert float(o1) == pytest.approx(n - math.sqrt(n), abs=1e-12)
    assert o2 == torch.inf


def test_maps_that_depend_linearly_on_others_are_singular() -> None:
    maps = torch.randn(40, 5, 30, 30, generator=torch.Generator().manual_seed(0)).double()
    maps[:, 4] = 2 * maps[:, 0] - maps[:, 1] + 0.1 * maps[:, 3] + 5
    assert orthogonality(maps)[1] == torch.inf
    assert orthogonality(1e-6 * maps)[1] == torch.inf
    few = torch.rand(1, 5, 2, 2).double()  # four pixels span three dimensions about their mean
    assert orthogonality(few)[1] == torch.inf


def test_two_correlated_maps_in_closed_form() -> None:
    first, second = torch.tensor([1.0, 1, -1, -1]).double(), torch.tensor([1.0, -1, 1, -1]).double()
    for rho in (0.5, -0.9, 1 - 1e-9):
        other = rho * first + math.sqrt((1 - rho) * (1 + rho)) * second
        o1, o2 = orthogonality(torch.stack([first, other]).reshape(1, 2, 2, 2))
        assert float(o1) == pytest.approx(math.sqrt(2 + 2 * rho**2) - math.sqrt(2))
        assert float(o2) == pytest.approx(-math.log((1 - rho) * (1 + rho)), rel=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, -3e7, 1e-30, torch.nan, torch.inf])
def test_an_x_feature_without_variance_is_undefined(value: float) -> None:
    maps = torch.randn(7, 3, 33, 47, generator=torch.Generator().manual_seed(0)).double()
    maps[:, 1] = value
    assert np.isnan(floats(orthogonality(maps))).all()


def test_one_image_that_differs_is_variance_enough() -> None:
    maps = torch.randn(7, 2, 9, 9, generator=torch.Generator().manual_seed(0))
    maps[:, 1] = 1
    maps[3, 1] = 2
    assert floats(orthogonality(maps)) == pytest.approx(naive(maps))


def test_a_single_x_feature_is_orthogonal() -> None:
    assert floats(orthogonality(torch.rand(3, 1, 4, 4))) == [0, 0]


def test_a_large_mean_does_not_drown_the_covariance() -> None:
    maps = torch.randn(4, 3, 20, 20, generator=torch.Generator().manual_seed(0)).double()
    assert floats(orthogonality(maps + 1e8)) == pytest.approx(floats(orthogonality(maps)), abs=1e-6)


def test_moments_of_images_of_different_sizes() -> None:
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(1, 3, *size, generator=generator) for size in ((4, 5), (7, 3), (1, 2))]
    each = [map_moments(image) for image in images]
    whole = pooled_moments(type(each[0])(*(torch.cat(values) for values in zip(*each, strict=True))))
    vectors = torch.cat([image[0].flatten(1) for image in images], dim=1).double()
    torch.testing.assert_close(whole.mean, vectors.mean(dim=1))
    torch.testing.assert_close(whole.scatter / whole.pixels, torch.cov(vectors, correction=0))
    assert floats(orthogonality_of_moments(whole)) == pytest.approx(naive(vectors[None, :, None]))
