"""What a configuration sets of the metrics that follow from a data set's annotation."""

import pytest

from vitrine.core.options import OptionError
from vitrine.metrics import LocalizationError, MetricOptions, PointingGame, metrics_for


def test_options_reach_the_metrics() -> None:
    options = MetricOptions(pointing_tolerance=3.5, localization_alpha=1.25, every_alpha=True)
    metrics = {type(metric): metric for metric in metrics_for(["boxes"], options=options)}
    pointing, localization = metrics[PointingGame], metrics[LocalizationError]
    assert isinstance(pointing, PointingGame)
    assert isinstance(localization, LocalizationError)
    assert (pointing.tolerance, localization.alpha, localization.every_alpha) == (3.5, 1.25, True)


@pytest.mark.parametrize("name", ["pointing_tolerance", "localization_alpha"])
def test_negative_values_are_refused(name: str) -> None:
    with pytest.raises(OptionError, match=rf"{name} is -1\.0"):
        MetricOptions(**{name: -1.0})  # type: ignore[arg-type]
