"""Which classes of an image are explained, and explanations with a row for each."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_modules.explained import explained_rows, first_of_each_image, joined_of_each_image, target_of
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation

LOGITS = torch.tensor([[0.0, 3, 2, 1], [5.0, 1, 4, 2], [1.0, 2, 3, 4]])
"""Ranked 1 2 3 0, 0 2 3 1 and 3 2 1 0."""


def batch_of(label: Any) -> Batch:
    images = torch.arange(3.0)[:, None, None, None].expand(3, 3, 2, 2)
    return Batch(image=images, key=["a", "b", "c"], **({} if label is None else {"label": torch.tensor(label)}))


def pairs(batch: Batch, explain: Any, top_k: int = 2, heads: Any = ()) -> list[tuple[str, int]]:
    rows = explained_rows(batch, explain, top_k, lambda _: LOGITS, heads)
    target = target_of(rows, explain)
    classes = [-1] * len(rows["key"]) if target is None else target.tolist()
    assert rows["image"][:, 0, 0, 0].tolist() == ["abc".index(key) for key in rows["key"]]
    return list(zip(rows["key"], classes, strict=True))


ONE, SEVERAL = [1, 2, 3], [[0.0, 1, 0, 1], [0.0, 0, 0, 0], [0.0, 0, 0, 1]]
NONE: list[list[float]] = [[], [], []]


@pytest.mark.parametrize(
    ("label", "explain", "expected"),
    [
        (ONE, "predicted", [("a", -1), ("b", -1), ("c", -1)]),
        (ONE, "prediction", [("a", -1), ("b", -1), ("c", -1)]),
        (ONE, "label", [("a", 1), ("b", 2), ("c", 3)]),
        (SEVERAL, "label", [("a", 1), ("a", 3), ("b", 0), ("c", 3)]),
        (NONE, "label", [("a", -1), ("b", -1), ("c", -1)]),
        (None, "label", [("a", -1), ("b", -1), ("c", -1)]),
        (ONE, "both", [("a", 1), ("b", 0), ("b", 2), ("c", 3)]),
        (SEVERAL, "both", [("a", 1), ("a", 3), ("b", 0), ("c", 3)]),
        (NONE, "both", [("a", 1), ("b", 0), ("c", 3)]),
        (ONE, "top_k", [("a", 1), ("a", 2), ("b", 0), ("b", 2), ("c", 3), ("c", 2)]),
        (None, "top_k", [("a", 1), ("a", 2), ("b", 0), ("b", 2), ("c", 3), ("c", 2)]),
        (ONE, "every_class", [("a", 1), ("b", 2), ("c", 3)]),
    ],
)
def test_classes_of_each_image(label: Any, explain: Any, expected: list[tuple[str, int]]) -> None:
    assert pairs(batch_of(label), explain) == expected


@pytest.mark.parametrize(
    ("label", "explain", "expected"),
    [
        (ONE, "label", [("a", 2), ("b", 2), ("c", 3)]),  # class 1 has no head: 2 is the most probable that has
        (SEVERAL, "label", [("a", 3), ("b", 2), ("c", 3)]),
        (ONE, "both", [("a", 2), ("b", 2), ("c", 3)]),
        (ONE, "top_k", [("a", 2), ("a", 3), ("b", 2), ("b", 3), ("c", 3), ("c", 2)]),
    ],
)
def test_classes_without_a_head_are_left_out(label: Any, explain: Any, expected: list[tuple[str, int]]) -> None:
    assert pairs(batch_of(label), explain, heads=[2, 3]) == expected


def test_classes_of_boxes_count_too() -> None:
    batch = batch_of(ONE)
    batch["box_labels"] = [torch.tensor([3, 1, 3]), torch.tensor([], dtype=torch.int64), torch.tensor([0])]
    batch["boxes"] = [torch.zeros(3, 4), torch.zeros(0, 4), torch.ones(1, 4)]
    rows = explained_rows(batch, "every_class", 1, lambda _: LOGITS)
    assert list(zip(rows["key"], rows["label"].tolist(), strict=True)) == [
        ("a", 1),
        ("a", 3),
        ("b", 2),
        ("c", 3),
        ("c", 0),
    ]
    assert [len(boxes) for boxes in rows["boxes"]] == [3, 3, 0, 1, 1]


def test_more_classes_than_there_are_make_all_of_them() -> None:
    assert len(pairs(batch_of(None), "top_k", top_k=9)) == 12


def test_the_network_is_asked_only_where_predictions_are_needed() -> None:
    def never(_: Tensor) -> Tensor:
        raise AssertionError

    for label, explain in ((ONE, "label"), ([[0.0, 1]] * 3, "label"), (ONE, "predicted"), (ONE, "every_class")):
        explained_rows(batch_of(label), explain, 1, never)  # type: ignore[arg-type]


def explanation_of(targets: list[int]) -> Explanation:
    count = len(targets)
    maps = torch.arange(count * 2.0)[:, None].view(count, 2, 1, 1) + torch.zeros(2, 2)
    valid = torch.tensor([[True, row % 2 == 0] for row in range(count)])
    labels = [["x", "y" if row % 2 == 0 else ""] for row in range(count)]
    classes = torch.tensor(targets)
    return Explanation(maps, maps[..., 0, 0] + 1, labels, classes, classes, torch.zeros(count, 4), valid)


def test_the_first_of_each_image() -> None:
    explanation = explanation_of([1, 0, 2, 3])
    assert first_of_each_image(explanation, ["a", "b", "b", "c"]).target.tolist() == [1, 0, 3]
    assert first_of_each_image(explanation, list("abcd")) is explanation


def test_heatmaps_of_all_classes_of_an_image_are_joined() -> None:
    joined = joined_of_each_image(explanation_of([1, 0, 2, 3]), ["a", "b", "b", "c"], ["ant", "bee", "cat"])
    assert joined.target.tolist() == [1, 0, 3]
    assert joined.labels == [
        ["bee: x", "bee: y", "", ""],
        ["ant: x", "", "cat: x", "cat: y"],
        ["class 3: x", "", "", ""],
    ]
    assert joined.valid.int().tolist() == [[1, 1, 0, 0], [1, 0, 1, 1], [1, 0, 0, 0]]
    assert joined.heatmaps[..., 0, 0].tolist() == [[0, 1, 0, 0], [2, 3, 4, 5], [6, 7, 0, 0]]
    assert joined.scores.tolist() == [[1, 2, 0, 0], [3, 4, 5, 6], [7, 8, 0, 0]]
