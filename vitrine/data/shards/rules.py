"""Rules of sample records, checked by both the writer and the verifier."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from vitrine.data.shards.schema import BOX_ENTRIES, ShardIndex

RECORD_ANNOTATIONS = ("boxes", "counterfactuals", "parts")
_LARGEST = 1e9
"""Of a coordinate in pixels; beyond it neighbours are one number in float32."""


def _is_index(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_numbers(value: object, length: int) -> TypeGuard[Sequence[float]]:
    return isinstance(value, Sequence) and len(value) == length and all(_is_number(number) for number in value)


def _is_number(value: object) -> bool:
    """Whether it is a finite number; whole numbers of JSON may be larger than any float."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and -_LARGEST < value < _LARGEST
        and math.isfinite(value)
    )


@dataclass(frozen=True)
class RecordRules:
    """The declarations of a split that each of its records has to agree with: classes, annotations and parts.

    Example:
        >>> rules = RecordRules(num_classes=2, multi_label=False, annotations=frozenset({"boxes"}))
        >>> rules.problems({"label": 5, "width": 8, "height": 6, "boxes": []})
        ['label 5 is outside the 2 classes (0 to 1)']
    """

    num_classes: int
    multi_label: bool
    annotations: frozenset[str]
    num_parts: int | None = None
    num_objects: int | None = None

    @classmethod
    def of_index(cls, index: ShardIndex) -> "RecordRules":
        """The rules that an index declares."""
        num_parts = None if index.part_names is None else len(index.part_names)
        num_objects = None if index.object_names is None else len(index.object_names)
        return cls(len(index.classes), index.multi_label, frozenset(index.annotations), num_parts, num_objects)

    def label_problems(self, label: object) -> list[str]:
        """Problems of a label: its type, its range, repeated classes."""
        if not self.multi_label:
            return self._range_problems([label])
        if not isinstance(label, list):
            return [f"label {label!r} is no list of class indices"]
        repeated = [f"label {label!r} names a class twice"] if len(set(map(str, label))) < len(label) else []
        return self._range_problems(label) + repeated

    def problems(self, record: Mapping[str, Any]) -> list[str]:
        """Problems of a record, as phrases; empty for a valid record."""
        size = (record.get("width"), record.get("height"))
        if not all(_is_index(side) and side > 0 for side in size):
            return [f"width and height are {size[0]!r} and {size[1]!r}, no positive whole numbers"]
        problems = self.label_problems(record.get("label"))
        problems += [
            f"{name} are {'absent' if name in self.annotations else 'not among the annotations of the split'}"
            for name in RECORD_ANNOTATIONS
            if (name in record) != (name in self.annotations)
        ]
        problems += _box_problems(record.get("boxes", []), record["width"], record["height"])
        problems += self._box_entry_problems(record) + self._part_problems(record)
        return problems + self._counterfactual_problems(record)

    def _range_problems(self, labels: Sequence[object]) -> list[str]:
        return [
            f"label {label!r} is outside the {self.num_classes} classes (0 to {self.num_classes - 1})"
            for label in labels
            if not _is_index(label) or not 0 <= label < self.num_classes
        ]

    def _box_entry_problems(self, record: Mapping[str, Any]) -> list[str]:
        allowed = {"box_labels": self.num_classes, "box_difficult": 2}
        return [
            f"{name} {record[name]!r} are no whole numbers from 0 to {allowed[name] - 1}, one for each box"
            for name in BOX_ENTRIES
            if name in record and not _are_indices(record[name], record.get("boxes"), allowed[name])
        ]

    def _counterfactual_problems(self, record: Mapping[str, Any]) -> list[str]:
        count = record.get("counterfactuals", 1)
        if not _is_index(count) or count < 1:
            return [f"counterfactuals are {count!r}, no number of images from 1 on"]
        if "counterfactuals" not in record or self.num_objects in {None, count}:
            return []
        return [f"counterfactuals are {count}, not one for each of the split's {self.num_objects} objects"]

    def _part_problems(self, record: Mapping[str, Any]) -> list[str]:
        if "parts" not in record:
            return []
        parts = record["parts"]
        if not isinstance(parts, Sequence) or (self.num_parts is not None and len(parts) != self.num_parts):
            return [f"parts are not a list of {self.num_parts} parts"]
        return [
            f"part {number} {part!r} is no x, y, visible near the {record['width']} x {record['height']} image"
            for number, part in enumerate(parts)
            if not _is_part(part, record["width"], record["height"])
        ]


def _are_indices(values: object, boxes: object, count: int) -> bool:
    return (
        isinstance(values, Sequence)
        and isinstance(boxes, Sequence)
        and len(values) == len(boxes)
        and all(_is_index(value) and 0 <= value < count for value in values)
    )


def _is_part(part: object, width: int, height: int) -> bool:
    """Annotated parts may be somewhat outside the image; farther than its size, they are an error."""
    if not _is_numbers(part, 3) or part[2] not in {0, 1}:
        return False
    return part[2] == 0 or (-width <= part[0] <= 2 * width and -height <= part[1] <= 2 * height)


def _box_problems(boxes: object, width: int, height: int) -> list[str]:
    """Boxes have to overlap the image; some of CUB end a pixel outside of it."""
    if not isinstance(boxes, Sequence):
        return [f"boxes {boxes!r} are no list"]
    return [
        f"box {number} {box!r} is no x0 < x1, y0 < y1 that overlaps the {width} x {height} image"
        for number, box in enumerate(boxes)
        if not _is_numbers(box, 4)
        or not (box[0] < box[2] and box[1] < box[3] and box[0] < width and box[1] < height and min(box[2:]) > 0)
    ]
