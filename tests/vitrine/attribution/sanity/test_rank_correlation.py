"""Rank correlation against SciPy."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import spearmanr

from vitrine.attribution.sanity import rank_correlation

PAIRS = st.tuples(st.integers(1, 4), st.integers(2, 40)).flatmap(
    lambda shape: arrays.arrays(
        np.float64,
        (2, *shape),
        elements=st.integers(-3, 3).map(float) | st.floats(-1e3, 1e3).map(lambda value: round(value, 1)),
    )
)


@settings(max_examples=150)
@given(PAIRS)
@pytest.mark.filterwarnings("ignore:An input array is constant")
def test_rank_correlation_is_scipys(pair: np.ndarray[Any, Any]) -> None:
    actual = rank_correlation(*torch.from_numpy(pair))
    expected = [spearmanr(first, second).statistic for first, second in zip(*pair, strict=True)]
    np.testing.assert_allclose(actual.numpy(), expected, atol=1e-12)


def test_rank_correlation_of_large_maps_of_mostly_zeros() -> None:
    """As ReLU leaves them: sums of tied ranks exceed 32 bits."""
    first, second = torch.randn(2, 3, 300 * 300, generator=torch.Generator().manual_seed(0)).sub(1).relu().unbind()
    second[1] += first[1]
    expected = [spearmanr(a, b).statistic for a, b in zip(first.numpy(), second.numpy(), strict=True)]
    np.testing.assert_allclose(rank_correlation(first, second).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("bad", [[2.0, 2.0, 2.0], [2.0, 2.0000002, 2.0], [0.0, torch.nan, 1.0], [0.0, torch.inf, 1.0]])
def test_rank_correlation_of_degenerate_rows_is_nan(bad: list[float]) -> None:
    rows = torch.tensor([bad, [0.0, 1.0, 2.0]])
    good = torch.tensor([[0.0, 1.0, 2.0], [0.0, 10.0, 11.0]])
    for actual in (rank_correlation(rows, good), rank_correlation(good, rows)):
        assert actual.isnan().tolist() == [True, False]
        assert actual[1] == pytest.approx(1)
