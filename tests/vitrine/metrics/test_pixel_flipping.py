"""Pixel flipping as a metric: areas of the function's curve, and what regions are replaced by."""

import pytest
import torch
from torch import Tensor

from tests.vitrine.metrics.test_row_means import IMAGES, MAPS, MODEL, TARGETS, take
from vitrine.core.options import OptionError
from vitrine.metrics import PixelFlipping, PixelFlippingOptions
from vitrine.metrics.functional import pixel_flipping_curve


def test_areas_are_those_of_the_curve() -> None:
    rows = slice(2, 4)
    metric = PixelFlipping(MODEL, PixelFlippingOptions(4, 2, 0.8, "mean"))
    found = take(metric, rows)
    curve = pixel_flipping_curve(MODEL, IMAGES[rows], MAPS[rows], TARGETS[rows], 0.0, 4, 2, 0.8).double()
    torch.testing.assert_close(found["pixel_flipping/aopc"], (curve[:, :1] - curve).mean(dim=1))
    torch.testing.assert_close(found["pixel_flipping/auc"], (curve[:, 1:] + curve[:, :-1]).mean(dim=1) / 2)
    assert metric.curves()["pixel_flipping"].y == pytest.approx(curve.mean(dim=0).tolist())
    assert metric.curves()["pixel_flipping"].x == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])


def test_random_fill_stays_within_the_range_of_each_channel() -> None:
    seen: list[Tensor] = []

    def classify(images: Tensor) -> Tensor:
        seen.append(images)
        return images.flatten(1)[:, :3]

    options = PixelFlippingOptions(1, 1, 1.0, seed=4)
    take(PixelFlipping(classify, options), slice(2, 4))
    whole, filled = seen[0][::2], seen[0][1::2]
    torch.testing.assert_close(whole, IMAGES[2:4])
    for low, high, channel in zip(whole.amin(dim=(2, 3)), whole.amax(dim=(2, 3)), filled, strict=True):
        assert (channel >= low[:, None, None]).all()
        assert (channel <= high[:, None, None]).all()
    assert not (filled == whole).any()
    seen.clear()
    take(PixelFlipping(classify, PixelFlippingOptions(1, 1, 1.0, seed=5)), slice(2, 4))
    assert not (seen[0][1::2] == filled).any()


def test_wrong_options() -> None:
    with pytest.raises(OptionError, match=r"^share is 0"):
        PixelFlippingOptions(share=0)
