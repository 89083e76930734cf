from typing import Any

import pytest

from vitrine.data.shards.rules import RecordRules

RULES = RecordRules(3, multi_label=False, annotations=frozenset({"boxes", "parts"}), num_parts=2)


def record(**changes: Any) -> dict[str, Any]:
    good: dict[str, Any] = {"label": 2, "width": 10, "height": 8, "boxes": [[0.0, 0.0, 10.0, 8.0]]}
    return {**good, "parts": [[3.0, 4.0, 1], [0.0, 0.0, 0]], **changes}


def test_a_good_record_has_no_problem() -> None:
    assert RULES.problems(record()) == []


@pytest.mark.parametrize(
    "good",
    [
        {"boxes": []},
        {"boxes": [[-1, 2, 11, 9]]},
        {"parts": [[10.5, 8, 1], [-900, 0, 0]]},
        {"box_labels": [2], "box_difficult": [1]},
        {"box_labels": [0]},
        {"boxes": [], "box_labels": [], "box_difficult": []},
    ],
)
def test_what_annotators_do_passes(good: dict[str, Any]) -> None:
    assert RULES.problems(record(**good)) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": 3}, "label 3 is outside the 3 classes (0 to 2)"),
        ({"label": -1}, "label -1 is outside"),
        ({"label": True}, "label True is outside"),
        ({"label": [1]}, "label [1] is outside"),
        ({"width": 0}, "width and height are 0 and 8"),
        ({"boxes": [[0, 0, 0, 5]]}, "box 0 [0, 0, 0, 5]"),
        ({"boxes": [[0, 0, 2, 5], [0, 6, 4, 5]]}, "box 1"),
        ({"boxes": [[10, 0, 12, 5]]}, "box 0"),
        ({"boxes": [[-3, 0, 0, 5]]}, "box 0"),
        ({"boxes": [[0, 0, float("nan"), 5]]}, "box 0"),
        ({"boxes": [[0, 0, 5]]}, "box 0"),
        ({"box_labels": [3]}, "box_labels [3] are no whole numbers from 0 to 2, one for each box"),
        ({"box_labels": [-1]}, "box_labels [-1] are no"),
        ({"box_labels": [1, 1]}, "box_labels [1, 1] are no"),
        ({"box_labels": []}, "box_labels [] are no"),
        ({"box_labels": [1.0]}, "box_labels [1.0] are no"),
        ({"box_labels": 1}, "box_labels 1 are no"),
        ({"box_difficult": [2]}, "box_difficult [2] are no whole numbers from 0 to 1, one for each box"),
        ({"box_difficult": [True]}, "box_difficult [True] are no"),
        ({"box_difficult": [0, 0]}, "box_difficult [0, 0] are no"),
        ({"parts": [[1, 1, 1]]}, "parts are not a list of 2 parts"),
        ({"parts": [[1, 1, 2], [1, 1, 0]]}, "part 0 [1, 1, 2]"),
        ({"parts": [[1, 1, 0], [21, 1, 1]]}, "part 1"),
        ({"parts": [[1, 1, 0], [1, float("inf"), 1]]}, "part 1"),
    ],
)
def test_a_bad_entry_is_the_one_problem(change: dict[str, Any], message: str) -> None:
    problems = RULES.problems(record(**change))
    assert len(problems) == 1
    assert problems[0].startswith(message)


def test_annotations_and_records_must_agree() -> None:
    without = record()
    del without["boxes"]
    assert RULES.problems(without) == ["boxes are absent"]
    labels_only = RecordRules(3, multi_label=False, annotations=frozenset())
    assert len(labels_only.problems(record())) == 2


def test_what_is_said_of_boxes_needs_boxes() -> None:
    parts_only = RecordRules(3, multi_label=False, annotations=frozenset({"parts"}), num_parts=2)
    without = record(box_labels=[1])
    del without["boxes"]
    (problem,) = parts_only.problems(without)
    assert problem.startswith("box_labels [1] are no")


def test_labels_of_a_multi_label_split_are_lists_of_different_classes() -> None:
    rules = RecordRules(3, multi_label=True, annotations=frozenset())
    assert rules.label_problems([0, 2]) == []
    assert rules.label_problems(1) == ["label 1 is no list of class indices"]
    assert rules.label_problems([1, 1]) == ["label [1, 1] names a class twice"]
    assert rules.label_problems([0, 3]) == ["label 3 is outside the 3 classes (0 to 2)"]
