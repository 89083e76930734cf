"""Converter of sets in the text format for weakly supervised object localisation (Choe et al., CVPR 2020)."""

from argparse import ArgumentParser
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from vitrine.data.shards.converter import Converter, SampleSet, require_folder
from vitrine.data.shards.converters.imagenet_annotation import Box, name_classes, read_wnids
from vitrine.data.shards.images import read_size
from vitrine.data.shards.sample import Sample, make_key
from vitrine.data.shards.text_lists import Line, read_index, read_lines, read_numbers, relative_name

_MOST_CLASSES = 1_000_000
IDS, LABELS, BOXES, SIZES = "image_ids.txt", "class_labels.txt", "localization.txt", "image_sizes.txt"


def list_wsol(
    root: Path, split: str = "test", metadata: Path | None = None, classes_from: Path | None = None
) -> SampleSet:
    """Lists images whose labels, sizes and boxes are lines "path,…" of text files.

    A box is a line "path,x0,y0,x1,y1", and an image may have several. Boxes include both ends (one at the right edge of 500
    pixels has x1 = 499) and are made half open.

    Args:
        root: folder of the images, at their paths or by their names alone.
        split: name of the split.
        metadata: the folder with ``class_labels.txt``, ``localization.txt``, ``image_sizes.txt`` and, for a subset of the
            images, ``image_ids.txt``; ``root`` without it.
        classes_from: wnids in the order of the labels, optionally with names, such as
            ``LOC_synset_mapping.txt``; without it the names are the labels, up to the highest one.

    Raises:
        FileNotFoundError: where a text file or an image is absent.
        ValueError: where a line is malformed, or an image has no line, no class or another size than its line,
            both as stored and upright by its EXIF orientation.
    """
    base = require_folder(root if metadata is None else metadata)
    labels = {
        name: read_index(entry.fields[0], None, entry.line, name) for name, entry in _single(base / LABELS, 1).items()
    }
    sizes, boxes = _single(base / SIZES, 2), _read_entries(base / BOXES, 4)
    names = _names(base) or list(labels)
    for table, path in ((labels, LABELS), (sizes, SIZES), (boxes, BOXES)):
        if absent := next((name for name in names if name not in table), None):
            raise ValueError(f"{base / path} has no line for {absent}: add it, or leave the image out of {IDS}.")
    classes = _classes(classes_from, max(labels[name] for name in names))
    if unknown := next((name for name in names if labels[name] >= len(classes)), None):
        raise ValueError(
            f"{base / LABELS} gives {unknown} the label {labels[unknown]}, but {classes_from} lists {len(classes)} classes."
        )
    samples = [_make_sample(root, base, name, labels[name], sizes[name], boxes[name]) for name in names]
    return SampleSet("wsol", split, classes, samples, ("boxes",))


def _names(base: Path) -> list[str]:
    return list(_single(base / IDS, 0)) if (base / IDS).is_file() else []


def _classes(path: Path | None, highest: int) -> list[str]:
    if path is None and highest >= _MOST_CLASSES:
        raise ValueError(
            f"{LABELS} has the label {highest}, beyond any list of classes: correct it, or give the wnids."
        )
    if path is None:
        return [str(label) for label in range(highest + 1)]
    wnids = read_wnids(path)
    return name_classes(wnids, wnids)


def _make_sample(root: Path, base: Path, name: str, label: int, size: "_Entry", boxes: list["_Entry"]) -> Sample:
    image = next((path for path in (root / name, root / Path(name).name) if path.is_file()), None)
    if image is None:
        raise FileNotFoundError(
            f"{root / name} does not exist though {base / LABELS} lists it: give the images' folder."
        )
    width, height = (read_index(side, None, size.line, name) for side in size.fields)
    actual = read_size(image)
    if (width, height) not in {actual.stored, actual.upright}:
        raise ValueError(
            f"{base / SIZES} says that {name} is {width} x {height}, but {image} is {actual.stored[0]} x"
            f" {actual.stored[1]}: its boxes would be off."
        )
    corners = [_half_open(box, name) for box in boxes]
    return Sample(make_key(name), image, label, boxes=corners, annotated_size=(width, height), extra={"source": name})


class _Entry(NamedTuple):
    """What a line says of an image."""

    fields: list[str]
    line: Line


def _half_open(box: _Entry, name: str) -> Box:
    x0, y0, x1, y1 = read_numbers(box.fields, box.line, f"the box {','.join(box.fields)!r} for {name}")
    return x0, y0, x1 + 1, y1 + 1


def _single(path: Path, values: int) -> dict[str, _Entry]:
    entries = _read_entries(path, values)
    if repeated := next((name for name, lines in entries.items() if len(lines) > 1), None):
        number = entries[repeated][1].line.number
        raise ValueError(f"{path} repeats the line of {repeated}: remove one of them, such as line {number}.")
    return {name: lines[0] for name, lines in entries.items()}


def _read_entries(path: Path, values: int) -> dict[str, list[_Entry]]:
    entries: dict[str, list[_Entry]] = defaultdict(list)
    for line in read_lines(path, "give the folder of the text files, with --metadata or --root"):
        name, *fields = line.text.rsplit(",", values) if values else [line.text]
        if len(fields) != values:
            raise ValueError(f"{line.place} is {line.text!r} and no path with {values} further entries: correct it.")
        entries[relative_name(name, line)].append(_Entry([field.strip() for field in fields], line))
    if not entries:
        raise ValueError(f"{path} is empty: give the text files of the set.")
    return dict(entries)


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, help="folder of the images")
    parser.add_argument("--split", default="test", help="name of the split (test)")
    parser.add_argument("--metadata", type=Path, metavar="DIR", help=f"folder of {LABELS} and so on (--root)")
    parser.add_argument(
        "--classes-from", type=Path, metavar="FILE", help="wnids, optionally with names, in the order of the labels"
    )


CONVERTER = Converter(
    "wsol",
    "images with boxes in the text format of WSOL evaluation sets",
    _add_arguments,
    lambda args: list_wsol(args.root, args.split, args.metadata, args.classes_from),
)
