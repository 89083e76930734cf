"""Images with boxes, which are tuned on or measured."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from benchmarks.method_maps import spread
from vitrine.data.preprocessing import Preprocessing
from vitrine.data.shards.sample import Sample


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
        sides = torch.tensor([picture.width, picture.height] * 2)
        boxes = torch.tensor(sample.boxes, dtype=torch.float64).reshape(-1, 4) * preprocessing.size / sides
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
