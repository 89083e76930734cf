"""Tiny-ImageNet in its official layout, labelled by the classes of an ImageNet-1k network."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.localization.images import LocalizationSet
from vitrine.data.shards.sample import Sample

_WNID = re.compile(r"n\d{8}(?!\d)")


def read_tiny_imagenet(folder: Path, wnids: Path) -> LocalizationSet:
    """Lists train/ for tuning and val/ for measuring.

    A box's corners are pixels of the object, so that it becomes half open by adding 1 to the lower right one.

    Args:
        folder: holds ``train/WNID/WNID_boxes.txt`` and ``val/val_annotations.txt``, with the images beside them.
        wnids: see `read_wnids`.

    Raises:
        FileNotFoundError: where a file is absent.
        ValueError: where a row is malformed, a class is not among the networks', or there are no training images.
    """
    classes = {wnid: position for position, wnid in enumerate(read_wnids(wnids))}
    known = _Classes(classes, wnids)
    train = [
        _sample(folder / "train" / wnid / "images" / name, known.index(wnid, source), box, source)
        for wnid, source in _training_tables(folder)
        for name, *box in _rows(source, 5)
    ]
    if not train:
        raise ValueError(
            f"{folder / 'train'} has none of the classes of wnids.txt, to tune on: unpack the archive again."
        )
    source = folder / "val" / "val_annotations.txt"
    val = [
        _sample(folder / "val" / "images" / name, known.index(wnid, source), box, source)
        for name, wnid, *box in _rows(source, 6)
    ]
    return LocalizationSet("tiny_imagenet", folder, train, val)


def read_wnids(path: Path) -> list[str]:
    """The classes of a network, sorted, so that a wnid's place is its logit.

    Args:
        path: a folder with files or folders whose names begin with a wnid, or a text file whose lines do.

    Raises:
        FileNotFoundError: where there is neither.
        ValueError: where none begins so.
    """
    if path.is_dir():
        texts = [entry.name for entry in path.iterdir()]
    elif path.is_file():
        texts = path.read_text(encoding="utf-8").splitlines()
    else:
        raise FileNotFoundError(f"{path} does not exist: give the folder or list of the networks' wnids as --wnids.")
    found = {match.group() for match in map(_WNID.match, texts) if match}
    if not found:
        raise ValueError(f"{path} has no name that begins with a wnid such as n01440764: give another --wnids.")
    return sorted(found)


class _Classes:
    def __init__(self, classes: Mapping[str, int], source: Path) -> None:
        self.classes, self.source = classes, source

    def index(self, wnid: str, table: Path) -> int:
        if wnid not in self.classes:
            raise ValueError(
                f"{table} has the class {wnid}, which is not among the {len(self.classes)} of {self.source}."
            )
        return self.classes[wnid]


def _training_tables(folder: Path) -> list[tuple[str, Path]]:
    path = folder / "wnids.txt"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: give the folder of the unpacked archive as --tiny-imagenet.")
    listed = path.read_text(encoding="utf-8").split()
    tables = [(wnid, folder / "train" / wnid / f"{wnid}_boxes.txt") for wnid in sorted(listed)]
    return [(wnid, table) for wnid, table in tables if table.parent.is_dir()]


def _rows(path: Path, entries: int) -> Iterator[list[str]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: give the folder of the unpacked archive as --tiny-imagenet.")
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        fields = line.split()
        if len(fields) != entries or not all(field.isdecimal() for field in fields[-4:]):
            raise ValueError(
                f"{path}, line {number}, must have {entries} entries, the last four a box, but is {line!r}."
            )
        yield fields


def _sample(image: Path, label: int, box: Sequence[str], source: Path) -> Sample:
    x0, y0, x1, y1 = map(int, box)
    if x1 < x0 or y1 < y0:
        raise ValueError(f"{source} gives {image.name} the box {' '.join(box)}, which ends before it begins.")
    return Sample(image.stem, image, label, [(x0, y0, x1 + 1, y1 + 1)])
