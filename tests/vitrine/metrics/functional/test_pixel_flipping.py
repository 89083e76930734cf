"""Pixel flipping: a naive version by regions, the deletion curve where regions are pixels, and what is left out."""

import pytest
import torch

from tests.helpers.pixel_curves import small_network
from vitrine.core.options import OptionError
from vitrine.metrics.functional import deletion_curve
from vitrine.metrics.functional.pixel_flipping import (
    area_over_perturbation_curve,
    flipped_shares,
    pixel_flipping_curve,
)

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randn(3, 3, 4, 5, dtype=torch.float64, generator=GENERATOR)
MAPS = torch.randn(3, 4, 5, dtype=torch.float64, generator=GENERATOR)
TARGETS = torch.tensor([0, 2, 1])
FILL = torch.randn(3, 3, 4, 5, dtype=torch.float64, generator=GENERATOR)
MODEL = small_network().double().eval()


@pytest.mark.parametrize("region", [1, 2, 3, 9])
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_naive_version(region: int, share: float) -> None:
    found = pixel_flipping_curve(MODEL, IMAGES, MAPS, TARGETS, FILL, 3, region, share)
    blocks = [
        (slice(row, row + region), slice(column, column + region))
        for row in range(0, 4, region)
        for column in range(0, 5, region)
    ]
    for image, map_, fill, target, curve in zip(IMAGES, MAPS, FILL, TARGETS, found, strict=True):
        ranked = sorted(blocks, key=lambda block: -float(map_[block].mean()))
        for step in range(4):
            flipped = image.clone()
            for block in ranked[: int(step * share * len(blocks) / 3 + 1e-9)]:
                flipped[:, *block] = fill[:, *block]
            torch.testing.assert_close(curve[step], MODEL(flipped[None]).softmax(dim=1)[0, target])


def test_regions_of_a_pixel_that_all_go_are_the_deletion_curve() -> None:
    flipped = pixel_flipping_curve(MODEL, IMAGES, MAPS, TARGETS, 0.0, 7, 1, 1.0)
    torch.testing.assert_close(flipped, deletion_curve(MODEL, IMAGES, MAPS, TARGETS, 7))


def test_images_do_not_depend_on_their_batch_and_degenerate_maps_have_no_curve() -> None:
    maps = MAPS.clone()
    maps[1] = 3
    together = pixel_flipping_curve(MODEL, IMAGES, maps, TARGETS, FILL, 3, 2)
    assert together.isnan().all(dim=1).tolist() == [False, True, False]
    alone = pixel_flipping_curve(MODEL, IMAGES[2:], maps[2:], TARGETS[2:], FILL[2:], 3, 2)
    torch.testing.assert_close(alone[0], together[2])


def test_shares_and_areas() -> None:
    assert flipped_shares(4, 0.16).tolist() == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
    found = area_over_perturbation_curve(torch.tensor([[0.5, 0.5, 0.5], [0.9, 0.3, 0.0]]))
    assert found.tolist() == pytest.approx([0.0, (0.0 + 0.6 + 0.9) / 3])


def test_wrong_options() -> None:
    for options, name in (((0, 9, 0.5), "steps"), ((2, 0, 0.5), "region"), ((2, 9, 1.5), "share")):
        with pytest.raises(OptionError, match=f"^{name} is "):
            pixel_flipping_curve(MODEL, IMAGES, MAPS, TARGETS, 0.0, *options)
