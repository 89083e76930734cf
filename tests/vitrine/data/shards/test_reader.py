"""A reader of single samples: few open files, known offsets, and what it says of damaged shards."""

import pickle
from pathlib import Path

import pytest

from tests.vitrine.data.shards.test_tar_samples import write
from vitrine.data.shards import reader as module
from vitrine.data.shards.reader import LocalFiles, ShardReader
from vitrine.data.shards.tar_samples import SampleOffsets, ShardError, find_samples


def paths(folder: Path, shards: int, samples: int = 3) -> list[Path]:
    return [
        write(folder / f"{shard}.tar", [(f"{shard}-{number}.txt", b"%d" % number) for number in range(samples)])
        for shard in range(shards)
    ]


def reader(files: list[Path], samples: int = 3) -> ShardReader:
    return ShardReader(LocalFiles(files), [samples] * len(files), "verify")


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_samples_in_any_order(tmp_path: Path) -> None:
    read = reader(paths(tmp_path, 2)).read
    assert read(1, 2) == ("1-2", {"txt": b"2"})
    assert read(0, 0) == ("0-0", {"txt": b"0"})


def test_few_files_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OPEN_FILES", 3)
    monkeypatch.setattr(module, "KNOWN_SHARDS", 4)
    before = open_files()
    of_many = reader(paths(tmp_path, 9))
    for _ in range(2):
        for shard in range(9):
            assert of_many.read(shard, 1)[0] == f"{shard}-1"
            assert open_files() <= before + 3
    del of_many
    assert open_files() == before


def test_headers_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []

    def counted(descriptor: int) -> SampleOffsets:
        found.append(descriptor)
        return find_samples(descriptor)

    monkeypatch.setattr(module, "find_samples", counted)
    read = reader(paths(tmp_path, 2)).read
    for number in (0, 1, 2, 0):
        read(0, number)
        read(1, number)
    assert len(found) == 2


def test_a_copy_opens_its_own_files(tmp_path: Path) -> None:
    first = reader(paths(tmp_path, 1))
    first.read(0, 0)
    copied = pickle.loads(pickle.dumps(first))
    del first
    assert copied.read(0, 2) == ("0-2", {"txt": b"2"})


def test_a_cut_shard_is_refused_as_a_whole_or_from_the_cut_on(tmp_path: Path) -> None:
    files = paths(tmp_path, 1)
    files[0].write_bytes(files[0].read_bytes()[:2500])
    cut = reader(files)
    with pytest.raises(ShardError, match=rf"{files[0]} is broken .*convert the set again"):
        cut.read(0, 0)
    assert cut.read(0, 0, whole=False)[0] == "0-0"
    with pytest.raises(ShardError, match="is broken"):
        cut.read(0, 1, whole=False)


def test_another_number_of_samples_than_the_index_lists(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="does not hold the 4 samples that its index lists; run verify"):
        reader(paths(tmp_path, 1), samples=4).read(0, 0)


def test_a_missing_file_and_a_compressed_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=rf"{tmp_path}/none.tar cannot be opened \(No such file"):
        reader([tmp_path / "none.tar"]).read(0, 0)
    packed = write(tmp_path / "packed.tar.gz", [("a.txt", b"")], "w:gz")
    with pytest.raises(ShardError, match=rf"{packed} is compressed \(gzip\)"):
        reader([packed]).read(0, 0)
