"""Converter of MNIST: handwritten digits of 28 × 28 grey pixels, from the official idx archives."""

import gzip
import math
import zlib
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vitrine.data.shards.converter import Converter, SampleSet, require_folder
from vitrine.data.shards.images import to_png
from vitrine.data.shards.sample import Sample

CLASSES = tuple("0123456789")
SPLITS = {"train": "train", "test": "t10k"}
"""The splits, and how the names of their archives begin."""
_BYTES = b"\x00\x00\x08"
"""The first bytes of an idx file of unsigned bytes; the number of dimensions follows."""
_AGAIN = "download the archive again"


def list_mnist(root: Path, split: str) -> SampleSet:
    """Lists the digits of a split.

    Args:
        root: folder of the four archives, ``train-images-idx3-ubyte.gz`` and so on, unpacked or not; or one that has them in
            ``MNIST/raw`` or ``raw``, as torchvision leaves them.
        split: "train" or "test".

    Raises:
        FileNotFoundError: where an archive is absent.
        ValueError: where one is damaged, or the two of a split do not belong together.
    """
    folder, name = archive_folder(root), SPLITS[split]
    files = {kind: _archive(folder, f"{name}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")}
    images, labels = (read_idx(path) for path in files.values())
    if images.ndim != 3 or labels.shape != images.shape[:1] or (labels.size and labels.max() >= len(CLASSES)):
        raise ValueError(
            f"{folder} holds {split} images {images.shape} and labels {labels.shape}, which do not belong together: {_AGAIN}."
        )
    source = files["images-idx3"].name
    samples = [
        Sample(f"{name}-{number:05d}", to_png(Image.fromarray(image)), int(label), extra={"source": source})
        for number, (image, label) in enumerate(zip(images, labels, strict=True))
    ]
    return SampleSet("mnist", split, CLASSES, samples)


def archive_folder(root: Path) -> Path:
    """The folder of the archives at or below a root."""
    require_folder(root)
    places = (root / "MNIST" / "raw", root / "raw", root)
    return next(place for place in places if place.is_dir())


def has_split(root: Path, split: str) -> bool:
    """Whether any archive of a split is there."""
    return split in SPLITS and any(archive_folder(root).glob(f"{SPLITS[split]}-images-idx3-ubyte*"))


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The bytes of an idx file, gzipped or not, in the shape that its head names.

    Raises:
        ValueError: where it is not one, or cut off.
    """
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is not a whole gzip archive ({error}): {_AGAIN}.") from None
    if content[:3] != _BYTES or len(content) < 4 + 4 * content[3]:
        raise ValueError(f"{path} does not begin as an idx file of bytes does: {_AGAIN}.")
    shape = np.frombuffer(content, ">u4", content[3], offset=4).tolist()
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape))
    if len(values) != math.prod(shape):
        raise ValueError(f"{path} has {len(values)} bytes where its head promises {math.prod(shape)}: {_AGAIN}.")
    return values.reshape(shape)


def _archive(folder: Path, name: str) -> Path:
    found = next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
    if found is None:
        raise FileNotFoundError(f"{folder / name}.gz does not exist: give the folder of the four archives of MNIST.")
    return found


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, help="folder of the archives, or of MNIST/raw with them")
    parser.add_argument("--split", choices=tuple(SPLITS), required=True, help="which of the official splits")


CONVERTER = Converter(
    "mnist", "MNIST in its idx archives: label", _add_arguments, lambda args: list_mnist(args.root, args.split)
)
