"""MNIST in memory, read from the official archives."""

import gzip
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from vitrine.core.batch import Batch
from vitrine.data.preprocessing import Preprocessing

CLASSES = tuple("0123456789")
PREPROCESSING = Preprocessing(size=28, resize=None, mean=(0.1307,) * 3, std=(0.3081,) * 3)
"""Mean and standard deviation of the training pixels."""


class Digits(NamedTuple):
    """N digits of a split."""

    images: Tensor
    """(N, 28, 28) uint8."""
    labels: Tensor
    """(N,) int64."""

    def inputs(self, rows: slice | Tensor = slice(None)) -> Tensor:
        """(B, 3, 28, 28) normalised: the grey image as three equal channels."""
        grey = (self.images[rows].float() / 255 - PREPROCESSING.mean[0]) / PREPROCESSING.std[0]
        return grey[:, None].expand(-1, 3, -1, -1)

    def batches(self, size: int, device: str, title: str) -> Iterator[Batch]:
        """All digits in turn, with a progress bar."""
        for start in track(range(0, len(self.labels), size), title, console=Console(stderr=True)):
            rows = slice(start, start + size)
            yield {"image": self.inputs(rows).to(device), "label": self.labels[rows].to(device)}


def read_digits(root: Path, split: str) -> Digits:
    """All digits of the split ``train`` or ``t10k``.

    Raises:
        FileNotFoundError: where one of the split's two archives is missing.
        ValueError: where one is damaged, or they do not belong together.
    """
    images = read_idx(root / "MNIST" / "raw" / f"{split}-images-idx3-ubyte.gz")
    labels = read_idx(root / "MNIST" / "raw" / f"{split}-labels-idx1-ubyte.gz")
    if images.shape != (len(labels), 28, 28):
        raise ValueError(f"The {split} archives of {root} hold images {tuple(images.shape)} and {len(labels)} labels.")
    return Digits(images, labels.long())


def read_idx(path: Path) -> Tensor:
    """The bytes of a gzipped idx file, in the shape that its head names.

    Raises:
        FileNotFoundError: where it does not exist.
        ValueError: where it is not one, or cut off.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; --root is the folder that holds MNIST/raw with the four archives."
        )
    try:
        content = gzip.decompress(path.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not a whole gzip archive: {error}.") from error
    if content[:3] != b"\x00\x00\x08" or len(content) < 4 + 4 * content[3]:
        raise ValueError(f"{path} does not begin as an idx file of bytes does.")
    shape = np.frombuffer(content, ">u4", content[3], offset=4).tolist()
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape))
    if len(values) != math.prod(shape):
        raise ValueError(f"{path} has {len(values)} bytes of data, where its head promises {math.prod(shape)}.")
    return torch.from_numpy(values.reshape(shape).copy())
