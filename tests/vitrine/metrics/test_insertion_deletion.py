"""Insertion and deletion on a linear network, whose curves have a closed form."""

import copy
import math
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics import InsertionDeletion
from vitrine.metrics.functional import (
    curve_area,
    deletion_curve,
    insertion_curve,
    saliency_ranks,
    step_shares,
)

SIZE = (4, 5)
PIXELS = 20


def linear(images: Tensor) -> Tensor:
    """Two logits: the sum over all pixels of the first channel, and 0. The probability of class 0 is its sigmoid."""
    total = images[:, 0].sum(dim=(1, 2))
    return torch.stack([total, torch.zeros_like(total)], dim=1)


def shuffled(seed: int) -> Tensor:
    """(4, 5) float64 with twenty different values from -0.5 to 0.45."""
    order = torch.randperm(PIXELS, generator=torch.Generator().manual_seed(seed))
    return (order.double().reshape(SIZE) - 10) / 20


IMAGES = torch.stack([torch.stack([shuffled(3 * row + channel) for channel in range(3)]) for row in range(3)])
MAPS = IMAGES[:, 0]
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


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(24, 3))


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
    monkeypatch.setattr("vitrine.metrics.functional.insertion_deletion.MAX_FORWARD_BATCH", 1)
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


# The metric


def explanation_of(maps: Tensor, target: Tensor) -> Explanation:
    count = len(maps)
    other = torch.full_like(target, 1)  # what is predicted does not matter
    return Explanation(maps[:, None], torch.ones(count, 1), [["map"]] * count, other, target, torch.zeros(count, 2))


POSITIVE = MAPS + 0.6  # the aggregate weighs by scale, not by place
ALL_MAPS = torch.cat([POSITIVE, torch.zeros(1, *SIZE), torch.full((1, *SIZE), torch.nan).double()])
ALL_IMAGES = torch.cat([IMAGES, IMAGES[:2]])
TARGETS = torch.tensor([0, 1, 0, 0, 0])


def take(metric: InsertionDeletion, rows: slice) -> InsertionDeletion:
    metric.update(explanation_of(ALL_MAPS[rows], TARGETS[rows]), Batch(image=ALL_IMAGES[rows]))
    return metric


def values(metric: InsertionDeletion) -> dict[str, float]:
    return {name: float(value) for name, value in metric.compute().items()}


def expected() -> dict[str, float]:
    inserted = insertion_curve(linear, IMAGES, MAPS, TARGETS[:3], 6, 1.5)
    deleted = deletion_curve(linear, IMAGES, MAPS, TARGETS[:3], 6)
    return {
        "insertion_deletion/insertion_auc": float(curve_area(inserted, PIXELS).mean()),
        "insertion_deletion/deletion_auc": float(curve_area(deleted, PIXELS).mean()),
        "insertion_deletion/degenerate": 2.0,
    }


def test_mean_areas_and_counts() -> None:
    assert values(take(InsertionDeletion(linear, 6, 1.5), slice(0, 5))) == pytest.approx(expected())


@pytest.mark.parametrize("cut", range(1, 5))
def test_two_updates_and_two_ranks_equal_one(cut: int) -> None:
    metric = take(take(InsertionDeletion(linear, 6, 1.5), slice(0, cut)), slice(cut, 5))
    assert values(metric) == pytest.approx(expected())
    ranks = [take(InsertionDeletion(linear, 6, 1.5), part) for part in (slice(0, cut), slice(cut, 5))]
    ranks[0].merge_state(ranks[1])
    assert values(ranks[0]) == pytest.approx(expected())


def test_a_pickled_metric_keeps_its_figures_and_leaves_its_network_behind() -> None:
    metric = take(InsertionDeletion(small_network().double(), 6), slice(0, 5))
    assert not list(metric.parameters())
    again = pickle.loads(pickle.dumps(metric))
    assert values(again) == values(metric)
    with pytest.raises(ValueError, match="pickled InsertionDeletion has no network any more"):
        take(again, slice(0, 2))
    assert values(take(copy.deepcopy(metric), slice(0, 5))) == pytest.approx(
        values(metric) | {"insertion_deletion/degenerate": 4}
    )


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_only_degenerate_maps_are_not_a_number() -> None:
    found = values(take(InsertionDeletion(linear, 6), slice(3, 5)))
    assert math.isnan(found["insertion_deletion/insertion_auc"])
    assert math.isnan(found["insertion_deletion/deletion_auc"])
    assert found["insertion_deletion/degenerate"] == 2
