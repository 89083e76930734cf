"""ROAD: which pixels are removed, by hand; noise by key; and what is left out."""

import pytest
import torch

from tests.helpers.pixel_curves import small_network
from vitrine.core.key_noise import KeyNoise
from vitrine.core.options import OptionError
from vitrine.metrics.functional.imputation import linear_imputation
from vitrine.metrics.functional.road import Order, road_curve

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randn(3, 3, 4, 5, dtype=torch.float64, generator=GENERATOR)
MAPS = torch.randn(3, 4, 5, dtype=torch.float64, generator=GENERATOR)
TARGETS = torch.tensor([0, 2, 1])
KEYS = ["a", "b", "c"]
SHARES = (0.0, 0.29, 0.6)
MODEL = small_network().double().eval()


@pytest.mark.parametrize("order", ["most_relevant_first", "least_relevant_first"])
def test_pixels_are_imputed_in_the_order_of_the_map(order: Order) -> None:
    found = road_curve(MODEL, IMAGES, MAPS, TARGETS, SHARES, order, noise=0.1, seed=3, keys=KEYS)
    draws = KeyNoise(3, KEYS, 3)
    for place, count in enumerate([0, 5, 12]):
        pixels = MAPS.flatten(1).argsort(dim=1, descending=order == "most_relevant_first")[:, :count]
        removed = torch.zeros(3, 20, dtype=torch.bool).scatter_(1, pixels, torch.ones_like(pixels, dtype=torch.bool))
        imputed = linear_imputation(IMAGES, removed.view(3, 4, 5), 0.1 * draws.draw((3, 4, 5)))
        expected = MODEL(imputed).softmax(dim=1).gather(1, TARGETS[:, None])[:, 0]
        torch.testing.assert_close(found[:, place], expected)
    torch.testing.assert_close(
        found[:, 0], road_curve(MODEL, IMAGES, -MAPS, TARGETS, SHARES, order, noise=0.1, seed=3, keys=KEYS)[:, 0]
    )


def test_images_do_not_depend_on_their_batch_and_degenerate_maps_have_no_curve() -> None:
    maps = MAPS.clone()
    maps[1] = torch.inf
    together = road_curve(MODEL, IMAGES, maps, TARGETS, keys=KEYS, noise=0.5)
    assert together.shape == (3, 9)
    assert together.isnan().all(dim=1).tolist() == [False, True, False]
    alone = road_curve(MODEL, IMAGES[2:], maps[2:], TARGETS[2:], keys=KEYS[2:], noise=0.5)
    torch.testing.assert_close(alone[0], together[2])
    other = road_curve(MODEL, IMAGES[2:], maps[2:], TARGETS[2:], keys=["d"], noise=0.5)
    assert (other[0] - together[2]).abs().max() > 1e-6


def test_the_order_of_relevance_turns_where_the_map_is_negated() -> None:
    first = road_curve(MODEL, IMAGES, MAPS, TARGETS, SHARES, noise=0.0)
    last = road_curve(MODEL, IMAGES, -MAPS, TARGETS, SHARES, "least_relevant_first", noise=0.0)
    torch.testing.assert_close(first, last)


def test_wrong_options() -> None:
    for options, name in (
        ({"shares": (0.5, 1.0)}, r"shares\[1\]"),
        ({"noise": -1.0}, "noise"),
        ({"shares": []}, "shares"),
        ({"order": "x"}, "order"),
    ):
        with pytest.raises(OptionError, match=f"^{name} is "):
            road_curve(MODEL, IMAGES, MAPS, TARGETS, **options)
