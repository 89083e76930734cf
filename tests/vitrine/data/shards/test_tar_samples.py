"""Samples found in tar files by offset, as Python's own reader finds them."""

import io
import os
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import webdataset as wds
from hypothesis import given
from hypothesis import strategies as st

from vitrine.data.shards.reader import LocalFiles, ShardReader
from vitrine.data.shards.tar_samples import BLOCK, MAX_SAMPLE_BYTES, ShardError, find_samples, read_sample

PLAIN = [("a.jpg", b"1" * 700), ("a.json", b"{}"), ("b.json", b""), ("b.mask.png", b"2" * 512)]


def write(path: Path, members: Sequence[tuple[str, bytes]], mode: str = "w", **options: int) -> Path:
    with tarfile.open(path, mode, **options) as tar:  # type: ignore[call-overload]
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


@contextmanager
def opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def samples(path: Path) -> list[tuple[str, dict[str, bytes]]]:
    with opened(path) as descriptor:
        found = find_samples(descriptor)
        assert found.problem is None
        return [
            read_sample(descriptor, int(start), int(end)) for start, end in zip(found.starts, found.ends, strict=True)
        ]


def by_webdataset(path: Path) -> list[tuple[str, dict[str, bytes]]]:
    read = wds.DataPipeline(wds.SimpleShardList([str(path)]), wds.tarfile_to_samples())
    return [
        (sample["__key__"], {name: data for name, data in sample.items() if not name.startswith("__")})
        for sample in read
    ]


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize(
    "members",
    [
        PLAIN,
        [("folder/a.jpg", b"1"), ("folder/a.json", b"2"), ("other/a.jpg", b"3")],
        [(f"{'long' * 22}/{'name' * 10}.jpg", b"1"), (f"{'long' * 22}/{'name' * 10}.json", b"2"), ("b.jpg", b"3")],
        [("no_extension", b"1"), ("a.JPG", b"2"), (".hidden", b"3"), ("b.jpg", b"4")],
    ],
)
def test_the_same_samples_as_webdataset(tmp_path: Path, format_: int, members: list[tuple[str, bytes]]) -> None:
    path = write(tmp_path / "shard.tar", members, format=format_)
    assert samples(path) == by_webdataset(path)
    assert len(samples(path)) >= 2


@pytest.mark.parametrize("format_", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_beyond_the_header(tmp_path: Path, format_: int) -> None:
    members = [
        ("ä" * 90 + ".jpg", b"1"),
        ("x" * 300 + ".jpg", b"2" * 600),
        ("x" * 300 + ".json", b"3"),
        ("b.jpg", b"4"),
    ]
    path = write(tmp_path / "shard.tar", members, format=format_)
    assert samples(path) == by_webdataset(path)
    assert [key for key, _ in samples(path)] == ["ä" * 90, "x" * 300, "b"]


@given(st.lists(st.binary(max_size=1500), min_size=1, max_size=6))
def test_bytes_of_any_length(tmp_path_factory: pytest.TempPathFactory, contents: list[bytes]) -> None:
    members = [(f"{number}.bin", data) for number, data in enumerate(contents)]
    path = write(tmp_path_factory.mktemp("any") / "shard.tar", members)
    assert samples(path) == [(str(number), {"bin": data}) for number, data in enumerate(contents)]


def test_folders_and_an_empty_tar(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "folders.tar", "w") as tar:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    assert samples(tmp_path / "folders.tar") == []
    assert samples(write(tmp_path / "empty.tar", [])) == []


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("kept", [1600, 2048, 3100])
def test_what_stands_before_a_cut_is_found(tmp_path: Path, format_: int, kept: int) -> None:
    """In PAX format the names make extended headers necessary."""
    names = ["ä.jpg", "b.jpg", "c.jpg"] if format_ == tarfile.PAX_FORMAT else ["a.jpg", "b.jpg", "c.jpg"]
    whole = write(tmp_path / "shard.tar", [(name, b"1" * 900) for name in names], format=format_).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:kept])
    with opened(tmp_path / "cut.tar") as descriptor:
        found = find_samples(descriptor)
    assert len(found) < 3
    assert found.problem
    assert all(end <= kept for end in found.ends)


def test_a_flipped_byte_in_a_header_is_a_problem(tmp_path: Path) -> None:
    path = write(tmp_path / "shard.tar", PLAIN)
    data = bytearray(path.read_bytes())
    data[1536 + 3] ^= 1  # the name of the second member
    path.write_bytes(data)
    with opened(path) as descriptor:
        found = find_samples(descriptor)
    assert found.problem == "no header at byte 1536"
    assert len(found) == 0


@pytest.mark.parametrize(("mode", "kind"), [("w:gz", "gzip"), ("w:bz2", "bzip2"), ("w:xz", "xz")])
def test_compressed_files_are_refused(tmp_path: Path, mode: str, kind: str) -> None:
    with (
        opened(write(tmp_path / "shard.tar", PLAIN, mode)) as descriptor,
        pytest.raises(ShardError, match=rf"is compressed \({kind}\).*decompress"),
    ):
        find_samples(descriptor)


def test_a_sample_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    """A file with a hole takes no room on the disk, and would take all memory."""
    header = tarfile.TarInfo("a.jpg")
    header.size = 2 * MAX_SAMPLE_BYTES
    path = tmp_path / "shard.tar"
    path.write_bytes(header.tobuf(tarfile.USTAR_FORMAT))
    os.truncate(path, BLOCK + header.size + 2 * BLOCK)
    with opened(path) as descriptor:
        found = find_samples(descriptor)
        with pytest.raises(ShardError, match=rf"sample of {header.size + BLOCK} bytes .* more than {MAX_SAMPLE_BYTES}"):
            read_sample(descriptor, int(found.starts[0]), int(found.ends[0]))
    reader = ShardReader(LocalFiles([path]), [1], "verify")
    with pytest.raises(ShardError, match=rf"shard\.tar has a sample of {header.size + BLOCK} bytes"):
        reader.read(0, 0)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_header_that_is_too_large_is_not_read(tmp_path: Path, kind: bytes) -> None:
    header = tarfile.TarInfo("a.jpg")
    header.size, header.type = 2**33, kind
    path = tmp_path / "shard.tar"
    path.write_bytes(header.tobuf(tarfile.GNU_FORMAT))
    os.truncate(path, BLOCK + header.size + 2 * BLOCK)
    with opened(path) as descriptor:
        assert find_samples(descriptor).problem == f"a header of {header.size} bytes at byte {BLOCK}"
