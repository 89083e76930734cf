"""The report of a sanity check: means without degenerate maps, the verdict, and what is written."""

import json

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.sanity_models import EdgeDetector
from vitrine.attribution.sanity import SanityReport, sanity_check
from vitrine.attribution.targets import Target


@pytest.mark.parametrize("value", [0.0, torch.nan])
def test_degenerate_maps_are_counted_and_not_averaged(value: float, network: nn.Module, images: Tensor) -> None:
    class Broken(EdgeDetector):
        def maps(self, inputs: Tensor, target: Target) -> Tensor:
            maps = super().maps(inputs, target)
            untouched = self.model is network
            maps[0 if untouched else 1] = value
            return maps

    report = sanity_check(Broken, network, images, stages=2)
    assert report.degenerate.tolist() == [2, 2]
    torch.testing.assert_close(report.correlation, torch.ones(2, dtype=torch.float64))
    alone = report[:2]
    assert alone.absolute_correlation.isnan().all()
    assert not alone.passes(threshold=2)
    assert "cannot be judged" in alone.verdict("Broken")
    assert alone.rows()[0] == {"layer": "head", "correlation": None, "absolute_correlation": None, "degenerate": 2}
    json.dumps(alone.to_dict(), allow_nan=False)


NAN = torch.nan


@pytest.mark.parametrize(
    ("signed", "absolute", "similarity"),
    [
        ((0.0, 0.0, 0.0), (0.9, 0.8, 0.1), 0.6),
        ((0.9, 0.8, 0.1), (0.0, 0.0, 0.0), 0.6),
        ((0.0, 0.0, 0.0), (0.1, 0.2, 0.6), 0.6),
        ((0.1, 0.2, 0.6), (0.0, 0.3, 0.0), 0.6),
        ((NAN, 0.4, 0.2), (NAN, 0.4, NAN), 0.3),
    ],
)
def test_the_verdict_is_by_the_last_stage_and_by_all_of_them(
    signed: tuple[float, ...], absolute: tuple[float, ...], similarity: float
) -> None:
    values, magnitudes = (torch.tensor(row, dtype=torch.float64)[:, None] for row in (signed, absolute))
    report = SanityReport(("c", "b", "a"), values, magnitudes)
    assert report.similarity == pytest.approx(similarity)
    assert report.passes(similarity + 1e-6)
    assert not report.passes(similarity - 1e-6)


def random_report(images: int) -> SanityReport:
    generator = torch.Generator().manual_seed(0)
    signed, absolute = torch.rand(2, 3, images, dtype=torch.float64, generator=generator)
    return SanityReport(("c", "b", "a"), signed, absolute)


def test_an_image_has_the_similarity_of_the_report_on_it_alone() -> None:
    report = random_report(5)
    report.image_correlation[2, 1] = report.image_absolute_correlation[2, 1] = torch.nan
    alone = [report[row : row + 1].similarity for row in range(5)]
    assert report.image_similarity.tolist() == pytest.approx(alone, nan_ok=True)
    assert report.image_similarity.isnan().tolist() == [False, True, False, False, False]
    assert report.to_dict()["image_similarity"][1] is None


def test_the_interval_is_that_of_other_images() -> None:
    """Of an image there is no telling; of many it is as wide as the standard error of the mean says."""
    one = random_report(1)
    assert one.interval() == pytest.approx((one.similarity, one.similarity))
    report = random_report(400)
    low, high = report.interval()
    assert low < report.similarity < high
    assert report.interval(level=0.5)[0] > low
    assert report.interval() == (low, high)
    last = torch.rand(400, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    of_one_stage = SanityReport(("a",), last[None], torch.zeros(1, 400, dtype=torch.float64))
    low, high = of_one_stage.interval()
    assert high - low == pytest.approx(2 * 1.96 * float(last.std()) / 20, rel=0.15)
