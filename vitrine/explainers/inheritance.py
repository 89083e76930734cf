"""Inheritance of heads: from which head of an earlier explainer each class begins, by name, by index, or as a map says."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from vitrine.core.csv_tables import write_csv_table
from vitrine.core.near_names import near_names
from vitrine.data.class_matching import candidates_by_name

HeadMap = Mapping[str, str | int | None] | Literal["by_name", "by_index"] | None
"""From which earlier class each class's head begins: classes (names, or indices as digits) to earlier ones (names or indices)
or null, the rest by name; all by name; or all by the index of the logit."""
COLUMNS = ("heads", "class", "from")


@dataclass(frozen=True)
class HeadClasses:
    """The classes that have a head, in the order of the heads.

    Args:
        indices: their logits.
        names: their names; None where they are not known.
    """

    indices: Sequence[int]
    names: Sequence[str] | None

    def name(self, row: int) -> str:
        """Name of the class of a head."""
        return f"class {self.indices[row]}" if self.names is None else self.names[row]

    def row(self, key: str | int) -> int:
        """The head of a class by its name, or by its index.

        Raises:
            ValueError: where there is none, with near names.
        """
        names = [self.name(row) for row in range(len(self.indices))]
        if key in names:
            return names.index(str(key))
        if str(key).isdecimal() and int(key) in self.indices:
            return list(self.indices).index(int(key))
        raise ValueError(f"{key!r}, which has no head; near names: {', '.join(near_names(str(key), names, 3))}")


@dataclass(frozen=True)
class Inheritance:
    """What becomes of heads.

    Args:
        classes: that have a head now.
        earlier: that had one.
        rows: by head, the earlier head that it begins from; None for one that is drawn anew.

    Example:
        >>> classes, earlier = HeadClasses([0, 1], ["owl", "House_Sparrow"]), HeadClasses([0, 1], ["house sparrow", "jay"])
        >>> found = inherited(classes, earlier, None)
        >>> found.kept, found.new, found.dropped
        (['House_Sparrow'], ['owl'], ['jay'])
    """

    classes: HeadClasses
    earlier: HeadClasses
    rows: tuple[int | None, ...]

    @property
    def kept(self) -> list[str]:
        """Classes whose heads go on."""
        return [self.classes.name(row) for row, before in enumerate(self.rows) if before is not None]

    @property
    def new(self) -> list[str]:
        """Classes whose heads are drawn anew."""
        return [self.classes.name(row) for row, before in enumerate(self.rows) if before is None]

    @property
    def dropped(self) -> list[str]:
        """Earlier classes whose heads are left out."""
        return [self.earlier.name(row) for row in range(len(self.earlier.indices)) if row not in self.rows]

    @property
    def is_identity(self) -> bool:
        """Whether each head goes on in its place, and none is left out."""
        return self.rows == tuple(range(len(self.earlier.indices)))

    def groups(self) -> dict[str, list[str]]:
        """Classes by what becomes of their heads."""
        return {"kept": self.kept, "new": self.new, "dropped": self.dropped}

    def write(self, path: Path) -> None:
        """Writes a table with a line for each class that has or had a head."""
        now = [
            {"heads": "new" if before is None else "kept", "class": self.classes.name(row)}
            | ({} if before is None else {"from": self.earlier.name(before)})
            for row, before in enumerate(self.rows)
        ]
        write_csv_table(path, COLUMNS, [*now, *({"heads": "dropped", "from": name} for name in self.dropped)])


def inherited(classes: HeadClasses, earlier: HeadClasses, head_map: HeadMap) -> Inheritance:
    """Finds the earlier head of each class.

    Args:
        classes: that have a head now.
        earlier: that had one.
        head_map: which head is which; by name without it.

    Raises:
        ValueError: where names are needed and not known, a name may be several classes, or the map names one without a head.
    """
    if head_map == "by_index":
        places = {index: row for row, index in enumerate(earlier.indices)}
        return Inheritance(classes, earlier, tuple(places.get(index) for index in classes.indices))
    given = head_map if isinstance(head_map, Mapping) else {}
    rows = {key: _row(classes, key) for key in given}
    twice = [row for row, count in Counter(rows.values()).items() if count > 1]
    if twice:
        name = classes.name(twice[0])
        raise ValueError(f"init_from_map names {name!r} twice, by its name and its index; leave one out.")
    told = {rows[key]: None if value is None else _row(earlier, value) for key, value in given.items()}
    rest = [row for row in range(len(classes.indices)) if row not in told]
    return Inheritance(
        classes, earlier, _ordered(told | dict(zip(rest, _by_name(classes, earlier, rest), strict=True)))
    )


def _ordered(rows: Mapping[int, int | None]) -> tuple[int | None, ...]:
    return tuple(rows[row] for row in sorted(rows))


def _row(classes: HeadClasses, key: str | int) -> int:
    try:
        return classes.row(key)
    except ValueError as error:
        raise ValueError(f"init_from_map names {error}.") from error


def _by_name(classes: HeadClasses, earlier: HeadClasses, rows: Sequence[int]) -> list[int | None]:
    if not rows:
        return []
    for side, whose in ((classes, "this run's"), (earlier, "its")):
        if side.names is None:
            raise ValueError(
                f"{whose} classes have no names by which heads could be matched; say which is which in"
                " model.init_args.init_from_map: {CLASS: EARLIER CLASS OR INDEX}, or by_index where logits mean the same."
            )
    names = [classes.name(row) for row in rows]
    found = candidates_by_name(names, earlier.names or ())
    counts = Counter(places[0] for places in found if len(places) == 1)
    for name, places in zip(names, found, strict=True):
        if len(places) > 1 or (places and counts[places[0]] > 1):
            several = " or ".join(f"{earlier.name(place)!r} ({earlier.indices[place]})" for place in places)
            raise ValueError(
                f"{name!r} and another class may both begin from the same head, {several}, or it from either; say which in"
                f" model.init_args.init_from_map: {{{name!r}: INDEX}}, or null for a head that is drawn anew."
            )
    return [places[0] if places else None for places in found]


def taken_rows(own: Tensor, saved: Tensor, axis: int, rows: Sequence[int | None], name: str) -> Tensor:
    """A tensor with an entry, or a block of them, for each head along one axis, of which some are those of another.

    Args:
        own: the tensor as it is, for J heads.
        saved: the other, for any number of them.
        axis: along which heads lie.
        rows: by head, its place in ``saved``; None for one that stays as it is.
        name: for messages.

    Raises:
        ValueError: where the other is of another size or type apart from the number of heads.

    Example:
        >>> taken_rows(torch.zeros(3), torch.tensor([1.0, 2.0]), 0, [1, None, 0], "bias")
        tensor([2., 0., 1.])
    """
    if own.ndim != saved.ndim or own.dtype != saved.dtype or not rows:
        raise ValueError(f"{name!r} differs")
    block = own.shape[axis] // len(rows)
    blocks, others = own.movedim(axis, 0), saved.movedim(axis, 0)
    if others.shape[1:] != blocks.shape[1:] or len(others) % block:
        raise ValueError(f"{name!r} differs")
    blocks, others = (one.reshape(-1, block, *one.shape[1:]) for one in (blocks, others))
    together = [blocks[row] if before is None else others[before] for row, before in enumerate(rows)]
    return torch.stack(together).flatten(0, 1).movedim(0, axis).contiguous()
