"""Locality over parts and objects: class by class, what is left out and counted, and over ranks."""

import math
import pickle
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.ranks import RankPool
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics import METRICS_BY_ANNOTATION, Locality, ObjectLocality, metrics_for
from vitrine.metrics.functional import object_probabilities, voronoi_part_probabilities

ROOT = Path(__file__).parents[3]
METRICS: dict[str, type[Locality]] = {"parts": Locality, "objects": ObjectLocality}
SIZE = (10, 12)
IMAGES, UNANNOTATED = 12, 5
TARGETS = [2, 40, 2, 2, 40, 2, 40, 40, 2, 7, 2, 7]


def explain(maps: Tensor, targets: Sequence[int], labels: Sequence[Sequence[str]] | None = None) -> Explanation:
    batch, count = maps.shape[:2]
    labels = labels or [[f"x-feature {number}" for number in range(count)]] * batch
    return Explanation(
        heatmaps=maps,
        scores=torch.tensor([[2.0, 0.01, 1.0]] * batch)[:, :count],  # x-feature 1 is idle
        labels=labels,
        valid=torch.tensor([[bool(label) for label in row] for row in labels], dtype=torch.bool).reshape(batch, count),
        prediction=torch.zeros(batch, dtype=torch.int64),
        target=torch.tensor(targets, dtype=torch.int64),
        logits=torch.zeros(batch, 50),
    )


def data() -> tuple[Tensor, Batch]:
    """Twelve images of three classes; one lacks annotation, three maps have no mass, in class 7 all of x-feature 1."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(IMAGES, 3, *SIZE, generator=generator)
    maps[0, 2], maps[9, 1], maps[11, 1] = 0, -1, torch.nan
    parts = torch.rand(IMAGES, 4, 3, generator=generator) * torch.tensor([10.0, 8.0, 1.0])
    parts[..., 2] = (parts[..., 2] < 0.8).float()
    parts[:, 0, 2] = 1
    parts[UNANNOTATED, :, 2] = 0
    objects = torch.randint(0, 6, (IMAGES, 1, *SIZE), generator=generator)
    objects[objects == 5] = 65535
    objects[UNANNOTATED] = 0
    boxes = [torch.tensor([[0.0, 0, 11, 9], [3, 3, 4, 4]])] * IMAGES
    return maps, Batch(parts=parts, boxes=boxes, objects=objects)


def cut_batch(batch: Batch, start: int, stop: int) -> Batch:
    return Batch(
        parts=batch["parts"][start:stop], boxes=batch["boxes"][start:stop], objects=batch["objects"][start:stop]
    )


def take(metric: Locality, start: int = 0, stop: int = IMAGES, step: int = IMAGES) -> Locality:
    maps, batch = data()
    for first in range(start, stop, step):
        last = min(first + step, stop)
        metric.update(explain(maps[first:last], TARGETS[first:last]), cut_batch(batch, first, last))
    return metric


def values(metric: Locality) -> dict[str, float]:
    return {name: float(value) for name, value in metric.compute().items()}


def by_class(metric: Locality) -> dict[str, list[float]]:
    return {str(label): found.tolist() for label, found in metric.by_class().items()}


@cache
def expected_by_class(annotation: str) -> dict[str, list[float]]:
    """Averages of dense histograms, class by class and x-feature by x-feature, and the entropy by its formula."""
    maps, batch = data()
    found = {}
    for label in sorted(set(TARGETS)):
        rows = []
        for k in range(3):
            total: dict[int, float] = defaultdict(float)
            for number in range(IMAGES):
                if TARGETS[number] != label or number == UNANNOTATED:
                    continue
                one = maps[number, k : k + 1]
                if annotation == "parts":
                    mass = voronoi_part_probabilities(one, batch["parts"][number], batch["boxes"][number][0])
                else:
                    mass = object_probabilities(one, batch["objects"][number, 0], 65535)
                for p in mass[0].nan_to_num(0).nonzero().flatten().tolist():
                    total[p] += float(mass[0, p])
            whole = sum(total.values())
            shares = [value / whole for value in total.values()]
            rows.append(-sum(share * math.log(share) for share in shares) if shares else math.nan)
        found[str(label)] = rows
    return found


def expected(annotation: str) -> dict[str, float]:
    rows = [[value for value in row if not math.isnan(value)] for row in expected_by_class(annotation).values()]
    contributing = [[row[0], row[2]] for row in expected_by_class(annotation).values()]
    return {
        "locality": sum(sum(row) / len(row) for row in rows) / 3,
        "locality/contributing": sum(sum(row) / 2 for row in contributing) / 3,
        "locality/contributing_features": 2.0,
        "locality/undefined": 1.0,
        "locality/degenerate": 3.0,
        "locality/skipped": 1.0,
    }


@pytest.mark.parametrize("annotation", ["parts", "objects"])
def test_histograms_are_averaged_before_the_entropy_is_taken(annotation: str) -> None:
    metric = take(METRICS[annotation]())
    assert values(metric) == pytest.approx(expected(annotation))
    found = by_class(metric)
    assert list(found) == ["2", "7", "40"]
    for label, rows in expected_by_class(annotation).items():
        assert found[label] == pytest.approx(rows, nan_ok=True)


@pytest.mark.parametrize("annotation", ["parts", "objects"])
@pytest.mark.parametrize("step", [1, 5])
def test_batches_split_differently_give_the_same(annotation: str, step: int) -> None:
    metric = METRICS[annotation]
    assert values(take(metric(), step=step)) == values(take(metric()))


@pytest.mark.parametrize("annotation", ["parts", "objects"])
@pytest.mark.parametrize("cut", [1, 7])
def test_two_halves_merge_into_the_whole(annotation: str, cut: int) -> None:
    halves = [take(METRICS[annotation](), 0, cut), take(METRICS[annotation](), cut)]
    halves[0].merge_state(halves[1])
    assert values(halves[0]) == pytest.approx(expected(annotation))


def test_one_part_is_0_and_evenly_over_parts_is_log_k() -> None:
    places = [(2, 3), (9, 4), (5, 8)]
    maps = torch.zeros(3, 2, *SIZE)
    maps[:, 0, 3, 2] = 5
    for image, (x, y) in enumerate(places):
        maps[image, 1, y, x] = 1 + image  # on one part an image, on another in each
    parts = torch.tensor([[[x, y, 1.0] for x, y in places]]).repeat(3, 1, 1)
    metric = Locality()
    metric.update(explain(maps, [1, 1, 1]), Batch(parts=parts))
    assert metric.by_class()[1].tolist() == pytest.approx([0, math.log(3)], abs=1e-15)
    assert values(metric)["locality"] == pytest.approx(math.log(3) / 2)


def test_without_boxes_the_image_is_the_box() -> None:
    maps, batch = data()
    whole = torch.tensor([[0.0, 0, SIZE[1], SIZE[0]]])
    metrics = [Locality(), Locality()]
    metrics[0].update(explain(maps, TARGETS), Batch(parts=batch["parts"]))
    metrics[1].update(explain(maps, TARGETS), Batch(parts=batch["parts"], boxes=[whole] * IMAGES))
    assert values(metrics[0]) == values(metrics[1])
    assert values(metrics[0]) != values(take(Locality()))


@pytest.mark.parametrize("boxes", [torch.zeros(0, 4), torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[5.0, 5, 5, 5]])])
def test_an_image_without_a_visible_part_in_its_box_is_left_out(boxes: Tensor) -> None:
    metric = Locality()
    parts = torch.tensor([[[5.0, 5, 1], [1, 1, 0]]])
    metric.update(explain(torch.rand(1, 2, *SIZE), [0]), Batch(parts=parts, boxes=[boxes]))
    found = values(metric)
    for name in ("locality", "locality/contributing", "locality/contributing_features"):
        assert math.isnan(found.pop(name))
    assert found == {"locality/undefined": 0, "locality/degenerate": 0, "locality/skipped": 1}
    assert metric.by_class() == {}


def test_an_x_feature_on_unlabelled_pixels_alone_is_undefined() -> None:
    objects = torch.zeros(2, 1, *SIZE, dtype=torch.int64)
    objects[:, :, :3] = 8
    maps = torch.zeros(2, 2, *SIZE)
    maps[:, 0, 5:], maps[:, 1] = 1, 1
    metric = ObjectLocality()
    metric.update(explain(maps, [4, 4]), Batch(objects=objects))
    assert metric.by_class()[4].tolist() == [pytest.approx(math.nan, nan_ok=True), 0]
    contributing = values(metric)
    assert math.isnan(contributing.pop("locality/contributing"))  # the one that contributes is undefined
    assert contributing == {
        "locality": 0,
        "locality/contributing_features": 1,
        "locality/undefined": 1,
        "locality/degenerate": 0,
        "locality/skipped": 0,
    }


def test_which_x_features_contribute_is_told_by_their_mean_scores() -> None:
    """A score that is large on one image counts though it is negative on another; one that is negative does not."""
    maps, batch = data()
    explanation = explain(maps[:3], [2, 2, 2])
    explanation.scores[:] = torch.tensor([[5.0, 1.0, 0.1], [-4.0, -2.0, 0.1], [0.0, -2.0, 0.1]])
    metric = Locality()
    metric.update(explanation, cut_batch(batch, 0, 3))
    entropies = metric.by_class()[2]
    found = values(metric)
    assert found["locality/contributing_features"] == 2
    assert found["locality/contributing"] == pytest.approx(float(entropies[[0, 2]].mean()))


def test_absent_heatmaps_are_left_out() -> None:
    maps, batch = data()
    labels = [["a", "b", ""]] * 6 + [["a", "b", "c"]] * 6
    metric, cut = Locality(), Locality()
    metric.update(explain(maps[:6], TARGETS[:6], labels[:6]), cut_batch(batch, 0, 6))
    cut.update(explain(maps[:6, :2], TARGETS[:6]), cut_batch(batch, 0, 6))
    assert by_class(metric) == by_class(cut)
    assert values(metric) == values(cut)
    metric.update(explain(maps[6:], TARGETS[6:], labels[6:]), cut_batch(batch, 6, 12))
    assert [len(row) for row in by_class(metric).values()] == [3, 3, 3]


def test_objects_are_held_sparsely() -> None:
    metric = take(ObjectLocality())
    assert sum(rows.numel() for rows in metric.records) < IMAGES * 3 * 4 * 7


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_nothing_taken_in_is_not_a_number() -> None:
    found = values(Locality())
    for name in ("locality", "locality/contributing", "locality/contributing_features"):
        assert math.isnan(found.pop(name))
    assert set(found.values()) == {0.0}


def test_an_unknown_annotation() -> None:
    with pytest.raises(ValueError, match="annotation is 'masks'; give 'parts' or 'objects'"):
        Locality("masks")  # type: ignore[arg-type]


def test_the_annotation_chooses_it() -> None:
    assert METRICS_BY_ANNOTATION["parts"] == (Locality,)
    assert METRICS_BY_ANNOTATION["objects"] == (ObjectLocality,)
    assert "ObjectLocality" in [type(metric).__name__ for metric in metrics_for({"objects"})]


@pytest.mark.parametrize("annotation", ["parts", "objects"])
def test_states_survive_pickling_and_moves_and_reset(annotation: str) -> None:
    metric = take(METRICS[annotation]())
    again = pickle.loads(pickle.dumps(metric)).to("cpu").float()
    assert values(again) == values(metric)
    assert {rows.dtype for rows in again.records} == {torch.float64}
    again.reset()
    assert values(take(again)) == values(metric)


def test_maps_on_which_gradients_rest() -> None:
    maps, batch = data()
    metric = Locality()
    metric.update(explain(maps.requires_grad_(), TARGETS), batch)
    assert not metric.compute()["locality"].requires_grad


def figures_on_rank(rank: int, annotation: str, cut: int) -> list[Any]:
    """The classes', the whole's, and again the classes' figures; where the cut is at the end, rank 1 has no batch."""
    metric = METRICS[annotation]().to("cpu")  # as a trainer does
    start, stop = (0, cut) if rank == 0 else (cut, IMAGES)
    if start < stop:
        take(metric, start, stop)
    return [by_class(metric), values(metric), by_class(metric)]


@pytest.mark.parametrize("annotation", METRICS)
@pytest.mark.parametrize("cut", [7, IMAGES])
def test_two_ranks_equal_one_also_where_one_has_no_batch(ranks: RankPool, annotation: str, cut: int) -> None:
    rows = {label: pytest.approx(row, nan_ok=True) for label, row in expected_by_class(annotation).items()}
    assert ranks.run(figures_on_rank, annotation, cut) == [[rows, pytest.approx(expected(annotation)), rows]] * 2
