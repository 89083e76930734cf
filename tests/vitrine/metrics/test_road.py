"""ROAD as a metric: both orders, their gap, decisions, and options."""

import pytest
import torch

from tests.vitrine.metrics.test_row_means import IMAGES, KEYS, MAPS, MODEL, TARGETS, take
from vitrine.core.options import OptionError
from vitrine.metrics import Road, RoadOptions
from vitrine.metrics.functional import road_curve


@pytest.mark.parametrize("score", ["probability", "decision"])
def test_figures_are_means_of_the_curves(score: str) -> None:
    rows, options = slice(2, 4), RoadOptions((0.1, 0.4), 0.2, score, 3)  # type: ignore[arg-type]
    metric = Road(MODEL, options)
    found = take(metric, rows)
    given = (MODEL, IMAGES[rows], MAPS[rows], TARGETS[rows], options.shares)
    morf, lerf = (
        road_curve(*given, order, options.score, 0.2, 3, KEYS[rows]).double()
        for order in ("most_relevant_first", "least_relevant_first")
    )
    torch.testing.assert_close(found["road/morf"], morf.mean(dim=1))
    torch.testing.assert_close(found["road/lerf"], lerf.mean(dim=1))
    torch.testing.assert_close(found["road/gap"], lerf.mean(dim=1) - morf.mean(dim=1))
    assert metric.curves()["road/morf"].y == pytest.approx(morf.mean(dim=0).tolist())
    assert metric.curves()["road/lerf"].x == [0.1, 0.4]


@pytest.mark.parametrize("shares", [(), (0.4, 0.1), (0.2, 0.2), (0.5, 1.0), (-0.1,)])
def test_wrong_shares(shares: tuple[float, ...]) -> None:
    with pytest.raises(OptionError, match=r"^shares(\[\d\])? is "):
        RoadOptions(shares)
