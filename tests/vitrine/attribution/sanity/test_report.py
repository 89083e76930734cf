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
