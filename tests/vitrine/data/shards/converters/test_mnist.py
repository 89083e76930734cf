"""MNIST's archives: read as torchvision reads them, and refused where they are damaged."""

import gzip
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import MNIST

from tests.helpers.image_sets import write_mnist
from vitrine.data.shards.cli import main
from vitrine.data.shards.converters.mnist import has_split, list_mnist, read_idx

TRAIN = "train-images-idx3-ubyte.gz"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_mnist(tmp_path / "MNIST")


@pytest.mark.parametrize("split", ["train", "test"])
def test_torchvision_reads_the_same(root: Path, split: str) -> None:
    raw = root / "raw"
    for archive in raw.iterdir():
        (raw / archive.stem).write_bytes(gzip.decompress(archive.read_bytes()))
    outside = MNIST(str(root.parent), train=split == "train")
    for place in (root.parent, root, raw):
        listed = list_mnist(place, split)
        assert [sample.labels for sample in listed.samples] == outside.targets[:, None].tolist()
        for sample, pixels in zip(listed.samples, outside.data.numpy(), strict=True):
            assert isinstance(sample.image, bytes)
            assert np.array_equal(np.asarray(Image.open(io.BytesIO(sample.image))), pixels)
    assert len({sample.key for sample in listed.samples}) == len(outside)
    assert tuple(listed.classes) == tuple("0123456789")


def test_the_command_line_and_unpacked_archives(root: Path, tmp_path: Path) -> None:
    raw = root / "raw"
    for archive in list(raw.iterdir()):
        (raw / archive.stem).write_bytes(gzip.decompress(archive.read_bytes()))
        archive.unlink()
    assert main(["mnist", "--root", str(tmp_path), "--split", "test", "--out", str(tmp_path / "out")]) == 0
    assert main(["verify", str(tmp_path / "out")]) == 0
    assert not has_split(root, "val")


def test_real_digits(real_data: Path) -> None:
    listed = list_mnist(real_data, "test")
    labels = [sample.labels[0] for sample in listed.samples]
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert labels[:5] == [7, 2, 1, 0, 4]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda whole: whole[: len(whole) // 2], "not a whole gzip archive"),
        (lambda _: b"no archive", "not a whole gzip archive"),
        (lambda whole: whole[:40] + bytes(40) + whole[80:], "not a whole gzip archive"),
        (lambda whole: gzip.compress(gzip.decompress(whole)[:-7]), "bytes where its head promises 23520"),
        (lambda whole: gzip.compress(b"\0\0\x09\3" + gzip.decompress(whole)[4:]), "does not begin as an idx file"),
        (lambda _: gzip.compress(b"\0\0\x08\3\0\0"), "does not begin as an idx file"),
        (lambda _: gzip.compress(b""), "does not begin as an idx file"),
    ],
)
def test_a_damaged_archive_is_named(root: Path, change: Callable[[bytes], bytes], told: str) -> None:
    path = root / "raw" / TRAIN
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=told) as raised:
        read_idx(path)
    assert str(path) in str(raised.value)


def test_archives_that_lack_or_do_not_belong_together(root: Path) -> None:
    shutil.copy(root / "raw" / "t10k-labels-idx1-ubyte.gz", root / "raw" / "train-labels-idx1-ubyte.gz")
    with pytest.raises(ValueError, match=r"\(30, 28, 28\) and labels \(20,\)"):
        list_mnist(root, "train")
    (root / "raw" / TRAIN).unlink()
    with pytest.raises(FileNotFoundError, match=TRAIN):
        list_mnist(root, "train")
    assert not has_split(root, "train")
    assert has_split(root, "test")
