"""Histograms over parts and objects and their entropy: closed forms, and Algorithm 1 pixel by pixel."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vitrine.metrics.functional import (
    box_region,
    locality,
    object_probabilities,
    parts_in_box,
    pixel_probabilities,
    voronoi_part_probabilities,
    voronoi_weights,
)

Part = tuple[float, float, int]
Box = tuple[float, float, float, float]


def naive_owner(i: int, j: int, parts: list[Part]) -> tuple[int, float] | None:
    """The nearest visible part of a pixel and its distance."""
    best: tuple[int, float] | None = None
    for p, (x, y, visible) in enumerate(parts):
        distance = math.sqrt((j - x) ** 2 + (i - y) ** 2)
        if visible and (best is None or distance < best[1]):
            best = p, distance
    return best


def naive_part_probabilities(image: list[list[float]], parts: list[Part], box: Box) -> list[float]:
    """Algorithm 1 with a loop over pixels: the largest distances first, then the sums."""
    x0, y0, x1, y1 = box
    pixels = [(i, j) for i in range(len(image)) for j in range(len(image[0]))]
    inside = [(i, j) for i, j in pixels if x0 <= j + 0.5 < x1 and y0 <= i + 0.5 < y1]
    owners = {(i, j): naive_owner(i, j, parts) for i, j in inside}
    largest = [max((own[1] for own in owners.values() if own and own[0] == p), default=0) for p in range(len(parts))]
    whole = sum(max(image[i][j], 0.0) for i, j in pixels)
    found = [0.0] * (len(parts) + 1)
    for i, j in pixels:
        owner, share = owners.get((i, j)), max(image[i][j], 0.0) / whole
        if owner:
            p, distance = owner
            found[p] += (1 - distance / largest[p] if largest[p] > 0 else 1.0) * share
        elif (i, j) not in owners:
            found[-1] += share
    return found


# Maps as distributions


def test_negative_values_are_cut_before_a_map_is_scaled() -> None:
    found = pixel_probabilities(torch.tensor([[[3.0, -4.0], [1.0, 0.0]]]))
    assert found.tolist() == [[[0.75, 0], [0.25, 0]]]
    assert found.dtype == torch.float64


def test_a_map_without_a_distribution_is_nan_throughout() -> None:
    maps = torch.ones(6, 2, 3)
    maps[1], maps[2] = 0, -1
    maps[3, 0, 0], maps[4, 0, 0], maps[5, 0, 0] = torch.nan, torch.inf, -torch.inf
    found = pixel_probabilities(maps).flatten(1)
    assert found.isnan().any(dim=1).tolist() == [False, True, True, True, True, True]
    assert torch.equal(found.isnan().any(dim=1), found.isnan().all(dim=1))
    box, parts, objects = torch.tensor([0.0, 0, 1, 1]), torch.tensor([[0.0, 0, 1]]), torch.tensor([[1, 0, 2]] * 2)
    for rows in (voronoi_part_probabilities(maps, parts, box), object_probabilities(maps, objects)):
        assert torch.equal(rows.isnan().any(dim=1), found.isnan().any(dim=1))
        assert torch.equal(rows.isnan().all(dim=1), found.isnan().any(dim=1))


# Algorithm 1

SIDE = 6
PARTS = st.lists(
    st.tuples(st.integers(-1, SIDE), st.integers(-1, SIDE), st.integers(0, 1)), min_size=1, max_size=5
) | st.lists(
    st.tuples(st.floats(0, SIDE, width=16), st.floats(0, SIDE, width=16), st.integers(0, 1)), min_size=1, max_size=4
)
BOXES = st.tuples(*[st.integers(0, 8).map(lambda side: side / 2)] * 2, *[st.integers(4, 12).map(lambda s: s / 2)] * 2)


@given(
    image=st.lists(st.lists(st.integers(-2, 5), min_size=SIDE, max_size=SIDE), min_size=4, max_size=4).filter(
        lambda image: max(max(row) for row in image) > 0
    ),
    parts=PARTS,
    box=BOXES,
)
def test_it_is_algorithm_1_pixel_by_pixel(image: list[list[float]], parts: list[Part], box: Box) -> None:
    found = voronoi_part_probabilities(torch.tensor([image]).float(), torch.tensor(parts).float(), torch.tensor(box))
    assert found[0].tolist() == pytest.approx(naive_part_probabilities(image, parts, box), abs=1e-12)


def test_several_large_maps_at_once() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(3, 23, 31, generator=generator)
    parts = torch.rand(15, 3, generator=generator) * torch.tensor([31.0, 23.0, 1.0])
    parts[:, 2] = (parts[:, 2] < 0.7).float()
    box: Box = (3.2, 2.6, 27.5, 20.0)
    found = voronoi_part_probabilities(maps, parts, torch.tensor(box))
    rows = [(float(x), float(y), int(visible)) for x, y, visible in parts.tolist()]
    for row, image in zip(found, maps.double().tolist(), strict=True):
        assert row.tolist() == pytest.approx(naive_part_probabilities(image, rows, box), abs=1e-12)
    alone = voronoi_part_probabilities(maps[1:2], parts, torch.tensor([box]))
    torch.testing.assert_close(
        alone, found[1:2], rtol=1e-14, atol=0
    )  # a product with one row may add up in another order


def test_regions_partition_the_box_and_hidden_parts_have_none() -> None:
    parts = torch.tensor([[1.0, 1, 1], [6, 1, 1], [3, 5, 0], [5, 5, 1]])
    box = torch.tensor([0.0, 0, 8, 7])
    weights = voronoi_weights(parts, box, (9, 10))
    assert bool(((weights[:4] > 0).sum(dim=0) <= 1).all())
    assert not weights[2].any()
    assert torch.equal(weights[4] == 1, ~box_region(box[None], (9, 10)))
    assert weights[:4, ~box_region(box[None], (9, 10))].sum() == 0
    assert [float(weights[p, int(y), int(x)]) for p, (x, y, _) in enumerate(parts) if p != 2] == [1, 1, 1]
    for p in (0, 1, 3):
        assert float(weights[p].max()) == 1


def test_distances_are_divided_by_the_largest_of_the_parts_own_region() -> None:
    parts = torch.tensor([[0.0, 0, 1], [5, 0, 1]])
    weights = voronoi_weights(parts, torch.tensor([0.0, 0, 6, 1]), (1, 6))
    assert weights[0, 0].tolist() == [1, 0.5, 0, 0, 0, 0]
    assert weights[1, 0].tolist() == [0, 0, 0, 0, 0.5, 1]
    far = voronoi_weights(parts[:1], torch.tensor([0.0, 0, 5, 1]), (1, 6))
    torch.testing.assert_close(far[0, 0], torch.tensor([1, 0.75, 0.5, 0.25, 0, 0], dtype=torch.float64))


def test_a_tie_goes_to_the_first_part() -> None:
    for order in ([[0.0, 0, 1], [2, 0, 1]], [[2.0, 0, 1], [0, 0, 1]]):
        parts = torch.tensor([*order, [1.0, 3, 1]])
        weights = voronoi_weights(parts, torch.tensor([0.0, 0, 3, 1]), (1, 3))
        first = int(parts[0, 0])
        assert weights[0, 0, first] == 1
        assert weights[1, 0].count_nonzero() == 1  # of the second only its own pixel, which has weight 1
        assert weights[1, 0, 2 - first] == 1


def test_two_parts_on_one_pixel_are_the_first() -> None:
    weights = voronoi_weights(torch.tensor([[1.0, 0, 1], [1, 0, 1]]), torch.tensor([0.0, 0, 3, 1]), (1, 3))
    assert weights[0, 0].tolist() == [0, 1, 0]
    assert not weights[1].any()


def test_without_visible_parts_or_box_there_is_context_alone() -> None:
    maps = torch.ones(1, 4, 5)
    hidden = torch.tensor([[1.0, 1, 0], [torch.nan, torch.nan, 0]])
    assert voronoi_part_probabilities(maps, hidden, torch.tensor([0.0, 0, 2, 2])).tolist() == [
        [0, 0, pytest.approx(0.8)]
    ]
    seen = torch.tensor([[1.0, 1, 1]])
    assert voronoi_part_probabilities(maps, seen, torch.tensor([2.0, 2, 2, 2])).tolist() == [[0, pytest.approx(1)]]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ((2, 1, 1), True),
        ((2, 1, 0), False),
        ((1.4, 1, 1), False),
        ((1.5, 1, 1), True),
        ((4.4, 2, 1), True),
        ((4.5, 2, 1), False),
    ],
)
def test_a_part_is_in_a_box_by_its_pixels_centre(part: Part, expected: bool) -> None:
    assert parts_in_box(torch.tensor([part]), torch.tensor([2.0, 1, 5, 3])).tolist() == [expected]


# Objects


@given(seed=st.integers(0, 99), count=st.sampled_from([1, 3, 40]))
def test_the_mass_on_each_object(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(2, 5, 7, generator=generator)
    objects = torch.randint(0, count + 1, (5, 7), generator=generator)
    found = object_probabilities(maps, objects, count)
    shares = maps.double().clamp(min=0)
    for k in range(1, count + 1):
        expected = torch.stack([image[objects == k].sum() / image.sum() for image in shares])
        torch.testing.assert_close(found[:, k - 1], expected)
    torch.testing.assert_close(object_probabilities(maps, objects), found[:, : int(objects.max())])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int32, torch.int64])
def test_ids_up_to_65535_of_any_type(dtype: torch.dtype) -> None:
    largest = 200 if dtype == torch.uint8 else 65535
    objects = torch.tensor([[largest, 0], [1, largest]]).to(dtype)
    found = object_probabilities(torch.tensor([[[1.0, 4], [2, 3]]]), objects)
    assert found.shape == (1, largest)
    assert found[0].nonzero().flatten().tolist() == [0, largest - 1]
    assert found[0, [0, -1]].tolist() == pytest.approx([0.2, 0.4])


def test_an_image_without_labels_has_no_objects() -> None:
    assert object_probabilities(torch.ones(3, 2, 2), torch.zeros(2, 2, dtype=torch.int64)).shape == (3, 0)


def test_an_id_beyond_the_number_of_objects() -> None:
    with pytest.raises(ValueError, match="objects has the id 7, but num_objects is 5"):
        object_probabilities(torch.ones(1, 1, 2), torch.tensor([[7, 1]]), 5)


# Entropy


@pytest.mark.parametrize("k", [1, 2, 15, 16])
def test_evenly_over_k_parts_is_log_k(k: int) -> None:
    histogram = torch.zeros(1, 16)
    histogram[0, torch.randperm(16, generator=torch.Generator().manual_seed(k))[:k]] = 0.037
    assert float(locality(histogram)) == pytest.approx(math.log(k), abs=1e-15)


def test_entropy_is_that_of_scipy_and_does_not_depend_on_scale() -> None:
    from scipy.stats import entropy

    histogram = torch.rand(7, 16, generator=torch.Generator().manual_seed(0)).double()
    histogram[:, 5] = 0
    assert locality(histogram).tolist() == pytest.approx(entropy(histogram.numpy(), axis=1).tolist(), abs=1e-14)
    torch.testing.assert_close(locality(1e-3 * histogram), locality(histogram))


def test_a_histogram_of_nothing_has_no_entropy() -> None:
    found = locality(torch.tensor([[0.0, 0, 0], [1, torch.nan, 0], [0, 2, 0]]))
    assert found.isnan().tolist() == [True, True, False]
    assert found[2] == 0
    assert locality(torch.zeros(2, 0)).isnan().all()


def test_a_map_on_one_part_and_one_evenly_over_parts() -> None:
    places = [(2, 3), (9, 4), (5, 10), (12, 12)]
    parts = torch.tensor([[x, y, 1.0] for x, y in places])
    maps = torch.zeros(2, 16, 16)
    maps[0, 3, 2] = 7
    for x, y in places:
        maps[1, y, x] = 2
    found = locality(voronoi_part_probabilities(maps, parts, torch.tensor([0.0, 0, 16, 16])))
    assert found.tolist() == pytest.approx([0, math.log(4)], abs=1e-15)


def test_inputs_stay_as_they_are() -> None:
    maps, parts = torch.randn(2, 4, 4), torch.tensor([[1.0, 1, 1], [2, 2, 0]])
    before: list[Tensor] = [maps.clone(), parts.clone()]
    voronoi_part_probabilities(maps, parts, torch.tensor([0.0, 0, 4, 4]))
    object_probabilities(maps, torch.ones(4, 4, dtype=torch.int64))
    assert torch.equal(maps, before[0])
    assert torch.equal(parts, before[1])
