"""Insertion and deletion curves in closed form, and what they take."""

import copy
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.pixel_curves import IMAGES, MAPS, PIXELS, linear, shuffled, small_network
from vitrine.metrics import InsertionDeletion
from vitrine.metrics.functional import (
    class_scores,
    curve_area,
    deletion_curve,
    insertion_curve,
    saliency_ranks,
    step_shares,
)

ZEROS = torch.zeros(3, dtype=torch.int64)


FLAT = 1e9  # a blur that leaves the mean alone


def ranked(row: int) -> Tensor:
    return MAPS[row].flatten().sort(descending=True).values


@pytest.mark.parametrize("steps", [1, 3, 20, 50])
def test_the_deletion_curve_in_closed_form(steps: int) -> None:
    found = deletion_curve(linear, IMAGES, MAPS, ZEROS, steps)
    gone = [s * PIXELS // steps for s in range(steps + 1)]
    expected = [[float(ranked(row)[n:].sum().sigmoid()) for n in gone] for row in range(3)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(deletion_curve(linear, IMAGES, MAPS, ZEROS + 1, steps), 1 - found)
    torch.testing.assert_close(found[:, -1], torch.full((3,), 0.5, dtype=torch.float64))


@pytest.mark.parametrize("steps", [1, 3, 20, 50])
def test_the_insertion_curve_in_closed_form(steps: int) -> None:
    """The blurred image is its mean everywhere."""
    found = insertion_curve(linear, IMAGES, MAPS, ZEROS, steps, blur=FLAT)
    come = [s * PIXELS // steps for s in range(steps + 1)]
    expected = [
        [float((ranked(row)[:n].sum() + (PIXELS - n) * ranked(row).mean()).sigmoid()) for n in come] for row in range(3)
    ]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_without_blur_there_is_nothing_to_insert() -> None:
    found = insertion_curve(linear, IMAGES, MAPS, ZEROS, steps=4, blur=0)
    whole = linear(IMAGES).softmax(dim=1)[:, :1]
    torch.testing.assert_close(found, whole.expand(-1, 5))
    torch.testing.assert_close(curve_area(found, PIXELS), whole[:, 0])


def test_the_background_of_deletion_is_an_option() -> None:
    background = torch.tensor([2.0, 5.0, 5.0], dtype=torch.float64)[:, None, None]
    found = deletion_curve(linear, IMAGES, MAPS, ZEROS, 2, background)
    left = torch.stack([ranked(row)[10:].sum() + 10 * 2 for row in range(3)])
    torch.testing.assert_close(found[:, 1], left.sigmoid())


def test_the_area_is_over_the_share_of_pixels() -> None:
    torch.testing.assert_close(step_shares(20, 3), torch.tensor([0, 0.3, 0.65, 1]).double())
    curve = torch.tensor([[0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    torch.testing.assert_close(curve_area(curve, 20), torch.tensor([0.15 + 0.35 + 0.175, 1.0]).double())
    line = torch.linspace(0, 1, 21)[None]
    assert float(curve_area(line, 20)) == pytest.approx(0.5)


def test_pixels_fall_in_value_and_ties_in_row_order() -> None:
    maps = torch.tensor([[[0.0, 2.0, 2.0], [5.0, 0.0, -1.0]]])
    assert saliency_ranks(maps).tolist() == [[[3, 1, 2], [0, 4, 5]]]
    assert saliency_ranks(torch.zeros(1, 60, 60)).flatten().tolist() == list(range(3600))


def test_the_right_order_is_the_best_and_its_opposite_the_worst() -> None:
    """For a linear network no order inserts sooner, nor deletes faster, than that of its own terms."""
    other = torch.stack([shuffled(90 + row) for row in range(3)])
    for curve, sign in ((partial(insertion_curve, blur=FLAT), 1), (deletion_curve, -1)):
        areas = [sign * curve_area(curve(linear, IMAGES, maps, ZEROS, 20), PIXELS) for maps in (MAPS, other, -MAPS)]
        assert (areas[0] > areas[1]).all()
        assert (areas[1] > areas[2]).all()


@pytest.mark.parametrize("value", [0.0, 0.3, torch.nan, torch.inf])
def test_degenerate_maps_have_no_curve(value: float) -> None:
    maps = MAPS.clone()
    maps[1] = value
    for curve in (insertion_curve, deletion_curve):
        found = curve(linear, IMAGES, maps, ZEROS, 4)
        assert found[1].isnan().all()
        assert torch.equal(found[::2], curve(linear, IMAGES, MAPS, ZEROS, 4)[::2])


@pytest.mark.parametrize("curve", [insertion_curve, deletion_curve])
def test_images_do_not_depend_on_their_batch_nor_on_how_many_go_at_once(
    curve: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, images, maps = small_network().double(), IMAGES.double(), MAPS
    together = curve(network, images, maps, torch.tensor([0, 1, 2]), 7)
    assert together.std(dim=1).min() > 1e-3
    for row in range(3):
        alone = curve(network, images[row : row + 1], maps[row : row + 1], torch.tensor([row]), 7)
        torch.testing.assert_close(alone[0], together[row])
    monkeypatch.setattr(sys.modules[class_scores.__module__], "MAX_FORWARD_BATCH", 1)
    torch.testing.assert_close(curve(network, images, maps, torch.tensor([0, 1, 2]), 7), together)


def test_a_network_is_behind_glass() -> None:
    network = small_network().train()
    state = copy.deepcopy(network.state_dict())
    random = torch.get_rng_state()
    found = deletion_curve(network, IMAGES.float(), MAPS, ZEROS, 5)
    torch.testing.assert_close(found, deletion_curve(network.eval(), IMAGES.float(), MAPS, ZEROS, 5))
    network.train()
    with pytest.raises(RuntimeError):
        deletion_curve(network, IMAGES.float()[:, :2], MAPS, ZEROS, 5)
    assert network.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps is 0; give 1 or more"),
        ({"blur": -1.0}, "blur is -1.0; give 0 or more"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        insertion_curve(linear, IMAGES, MAPS, ZEROS, **options)
    with pytest.raises(ValueError, match=message):
        InsertionDeletion(linear, **options)


def test_maps_must_fit_the_images() -> None:
    with pytest.raises(ValueError, match=r"maps must be \(3, 4, 5\), got \(3, 2, 5\)\."):
        deletion_curve(linear, IMAGES, MAPS[:, :2], ZEROS)
