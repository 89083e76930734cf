"""Images with boxes: CUB-200-2011, and Tiny-ImageNet labelled by the classes of an ImageNet-1k network."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from benchmarks.method_maps import spread
from vitrine.data.preprocessing import Preprocessing
from vitrine.data.shards.converters.cub import list_cub
from vitrine.data.shards.sample import Sample, upright_boxes


@dataclass(frozen=True)
class LocalizationSet:
    """A data set whose images have a label and boxes."""

    name: str
    folder: Path
    tuning: Sequence[Sample]
    """Of the training split."""
    measured: Sequence[Sample]

    def thinned(self, measured: int, tuning: int) -> "LocalizationSet":
        """So many of each, evenly; all for 0."""
        return replace(self, measured=spread(self.measured, measured), tuning=spread(self.tuning, tuning))


class LabelledImages(NamedTuple):
    """A batch at the network's input size."""

    images: Tensor
    """(B, 3, S, S)."""
    boxes: list[Tensor]
    """(k, 4) float64 of each image, half open, on the input."""
    labels: Tensor
    """(B,)."""


def batches(samples: Sequence[Sample], preprocessing: Preprocessing, size: int) -> Iterator[LabelledImages]:
    """The images in order, so many at once."""
    for start in range(0, len(samples), size):
        part = samples[start : start + size]
        read = [_read(sample, preprocessing) for sample in part]
        labels = torch.tensor([sample.labels[0] for sample in part])
        yield LabelledImages(torch.stack([image for image, _ in read]), [boxes for _, boxes in read], labels)


def _read(sample: Sample, preprocessing: Preprocessing) -> tuple[Tensor, Tensor]:
    with Image.open(path_of(sample)) as picture:
        corners, size = upright_boxes(sample, picture)
        boxes = torch.tensor(corners, dtype=torch.float64).reshape(-1, 4) * preprocessing.size / torch.tensor(size * 2)
        return preprocessing(picture), boxes


def fingerprint(samples: Sequence[Sample]) -> str:
    """Text that differs where images, labels or boxes do."""
    told = [(sample.key, sample.labels, sample.boxes) for sample in samples]
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def path_of(sample: Sample) -> Path:
    """The image's file.

    Raises:
        FileNotFoundError: where it is not there.
    """
    if not isinstance(sample.image, Path) or not sample.image.is_file():
        raise FileNotFoundError(f"{sample.name} does not exist: unpack the data set again.")
    return sample.image


def read_birds(folder: Path) -> LocalizationSet:
    """Lists ``CUB_200_2011``; the errors are those of `list_cub`."""
    return LocalizationSet("cub", folder, list_cub(folder, "train").samples, list_cub(folder, "test").samples)


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
