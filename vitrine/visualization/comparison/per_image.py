"""Per-image CSV files of tests: the values of each measured (image, class) pair."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitrine.core.csv_tables import plain_cell

PER_IMAGE_NAME = "per_image.csv"
_PAIR_COLUMNS = ["key", "target"]


@dataclass(frozen=True)
class PerImage:
    """The rows of one test, a row for each (image, class) pair."""

    keys: Sequence[str] = ()
    """Of the images, one a row."""
    targets: Sequence[str] = ()
    """The explained classes, one a row."""
    values: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """By figure, (R,); NaN where the figure was not measured."""


def read_per_image(path: Path) -> PerImage:
    """Reads a ``per_image.csv``: columns ``key``, ``target`` and one a figure, with empty cells for what was not measured.

    Raises:
        ValueError: for a damaged file, with its line.
    """
    keys, targets, numbers = [], [], []
    figures: list[str] | None = None
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        for line, cells in _lines(file, path):
            if figures is None:
                figures = _figures(cells, path)
                continue
            if len(cells) != 2 + len(figures):
                raise _damaged(path, line, f"has {len(cells)} cells, not {2 + len(figures)} as its first line")
            keys.append(plain_cell(cells[0]))
            targets.append(plain_cell(cells[1]))
            numbers.append([_number(cell, path, line, name) for name, cell in zip(figures, cells[2:], strict=True)])
    if figures is None:
        raise _damaged(path, 1, "is empty")
    columns = np.array(numbers, dtype=np.float64).reshape(len(keys), len(figures)).T
    return PerImage(keys, targets, dict(zip(figures, columns, strict=True)))


def _lines(file: Iterable[str], path: Path) -> Iterable[tuple[int, list[str]]]:
    """The number of each record's first line, and its cells."""
    reader = csv.reader(file, strict=True)
    start = 1
    try:
        for cells in reader:
            yield start, cells
            start = reader.line_num + 1
    except csv.Error as error:
        raise _damaged(path, start, f"is no CSV ({error})") from None


def _figures(header: Sequence[str], path: Path) -> list[str]:
    names = [plain_cell(name) for name in header]
    if names[:2] != _PAIR_COLUMNS:
        raise _damaged(path, 1, "must begin with the columns key,target")
    doubled = [a for a, b in pairwise(sorted(names)) if a == b]
    if doubled:
        raise _damaged(path, 1, f"names the column {doubled[0]!r} twice")
    return names[2:]


def _number(cell: str, path: Path, line: int, name: str) -> float:
    try:
        return float(cell) if cell else np.nan
    except ValueError:
        raise _damaged(path, line, f"holds {cell!r} for {name}, which is no number") from None


def _damaged(path: Path, line: int, what: str) -> ValueError:
    return ValueError(f"{path}, line {line} {what}: the file is damaged, run train.py test again.")
