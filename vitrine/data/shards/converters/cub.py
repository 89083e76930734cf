"""Converter of Caltech-UCSD Birds-200-2011: label, box and 15 parts of each image."""

import random
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vitrine.core.options import Count
from vitrine.data.shards.converter import Converter, SampleSet, number_type, require_folder
from vitrine.data.shards.sample import Sample, make_key
from vitrine.data.shards.text_lists import Line, read_lines, read_numbers, relative_name

_SPLIT_FLAGS = {"train": "1", "test": "0"}
_BOXES, _FLAGS, _LABELS = "bounding_boxes.txt", "train_test_split.txt", "image_class_labels.txt"
_PART_LOCATIONS = "parts/part_locs.txt"


def list_cub(root: Path, split: str, train_per_class: int | None = None, seed: int = 0) -> SampleSet:
    """Lists the images of a split of ``CUB_200_2011``, in its official layout.

    Boxes (x, y, width, height) become half-open corners; labels are positions in ``classes.txt``; the numbers before class
    names are removed.

    Args:
        root: the folder with ``images.txt``.
        split: "train" or "test".
        train_per_class: training images of each class, drawn by the seed from all of its images, in place of the official
            split; the others are test images, at least a sixth of the class.
        seed: of this draw.

    Raises:
        FileNotFoundError: where a table or an image is absent.
        ValueError: where a line is malformed, repeated, or absent from another table.
    """
    require_folder(root)
    classes, parts = _read_names(root / "classes.txt"), _read_names(root / "parts" / "parts.txt")
    positions = {identifier: position for position, identifier in enumerate(classes)}
    images = _read_names(root / "images.txt", paths=True)
    tables = {name: _read_table(root / name, keys, values) for name, keys, values in _TABLES}
    samples = []
    _check_same_images(root, images, tables)
    for image, relative in images.items():
        _require_image(root / "images" / relative, root)
        flag, label, box = (_look_up(root / name, tables[name], (image,)) for name in (_FLAGS, _LABELS, _BOXES))
        locations = [_look_up(root / _PART_LOCATIONS, tables[_PART_LOCATIONS], (image, part)) for part in parts]
        if label.fields[0] not in positions:
            raise ValueError(
                f"{label.line.place} gives image {image} the class {label.fields[0]}, absent from classes.txt."
            )
        if flag.fields[0] not in _SPLIT_FLAGS.values():
            raise ValueError(f"{flag.line.place} has {flag.fields[0]!r} in place of 1 (train) or 0 (test): correct it.")
        if train_per_class is not None or flag.fields[0] == _SPLIT_FLAGS[split]:
            samples.append(_make_sample(root, relative, positions[label.fields[0]], box, locations))
    if train_per_class is not None:
        train = _drawn(samples, train_per_class, seed)
        samples = [sample for sample in samples if (sample.key in train) == (split == "train")]
    names = [name.partition(".")[2] or name for name in classes.values()]
    return SampleSet("cub", split, names, samples, ("boxes", "parts"), part_names=list(parts.values()))


def _drawn(samples: Sequence[Sample], per_class: int, seed: int) -> set[str]:
    """Keys of the training images of a split of one's own."""
    by_class: dict[object, list[str]] = {}
    for sample in samples:
        by_class.setdefault(sample.label, []).append(sample.key)
    drawn: set[str] = set()
    for label, keys in by_class.items():
        shuffled = sorted(keys)
        random.Random(f"{seed} {label}").shuffle(shuffled)  # noqa: S311 - not for cryptography
        drawn.update(shuffled[: min(per_class, len(keys) - -(-len(keys) // 6))])
    return drawn


_TABLES = ((_FLAGS, 1, 1), (_LABELS, 1, 1), (_BOXES, 1, 4), (_PART_LOCATIONS, 2, 3))


def _make_sample(root: Path, relative: str, label: int, box: "_Row", locations: list["_Row"]) -> Sample:
    x, y, width, height = _numbers(box, relative)
    return Sample(
        key=make_key(relative),
        image=root / "images" / relative,
        label=label,
        boxes=[(x, y, x + width, y + height)],
        parts=[_numbers(location, relative) for location in locations],
        extra={"source": relative},
    )


def _read_names(path: Path, *, paths: bool = False) -> dict[str, str]:
    """Reads lines of a number and a name, which may contain spaces ("left eye"), or a path."""
    rows = _read_table(path, 1, 1, names=True)
    first: dict[str, _Row] = {}
    for row in rows.values():
        if first.setdefault(row.fields[0], row) is not row:
            raise ValueError(f"{row.line.place} repeats the name {row.fields[0]!r}: remove one of the lines.")
    return {key[0]: relative_name(row.fields[0], row.line) if paths else row.fields[0] for key, row in rows.items()}


def _numbers(row: "_Row", relative: str) -> list[float]:
    return read_numbers(row.fields, row.line, f"{' '.join(row.fields)!r} for {relative}")


class _Row(NamedTuple):
    """What a line says of its key."""

    fields: list[str]
    line: Line


_Table = dict[tuple[str, ...], _Row]


def _read_table(path: Path, keys: int, values: int, *, names: bool = False) -> _Table:
    entries: _Table = {}
    for line in read_lines(path, "give the folder CUB_200_2011 of the official archive as --root"):
        fields = line.text.split(None, 1 if names else -1)
        if len(fields) != keys + values:
            raise ValueError(f"{line.place} has {len(fields)} entries in place of {keys + values}: {line.text!r}.")
        key = tuple(fields[:keys])
        if key in entries:
            raise ValueError(f"{line.place} repeats the line of {' '.join(key)}: remove one of them.")
        entries[key] = _Row(fields[keys:], line)
    return entries


def _check_same_images(root: Path, images: dict[str, str], tables: dict[str, _Table]) -> None:
    """Checks that no table is of more images than are listed, as that of a shortened or another list would be."""
    for table in tables.values():
        for (image, *_), row in table.items():
            if image not in images:
                raise ValueError(
                    f"{row.line.place} is of the image {image}, which {root / 'images.txt'} does not list."
                )


def _look_up(path: Path, entries: _Table, key: tuple[str, ...]) -> _Row:
    if key not in entries:
        what = f"image {key[0]}" if len(key) == 1 else f"part {key[1]} of image {key[0]}"
        raise ValueError(f"{path} has no line for {what}, which images.txt lists: unpack the official archive again.")
    return entries[key]


def _require_image(path: Path, root: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist though {root / 'images.txt'} lists it: unpack the archive again."
        )


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, help="folder CUB_200_2011 of the official archive")
    parser.add_argument("--split", choices=sorted(_SPLIT_FLAGS), required=True, help="which of the splits")
    parser.add_argument(
        "--train-per-class",
        type=number_type(Count),
        metavar="N",
        help="training images of each class, drawn with --seed, in place of the official split",
    )


CONVERTER = Converter(
    "cub",
    "CUB-200-2011: label, box and 15 parts",
    _add_arguments,
    lambda args: list_cub(args.root, args.split, args.train_per_class, args.seed),
)
