"""Sums of tar files: read again when the file changed, and held against the index."""

import hashlib
from pathlib import Path

import pytest

from vitrine.data.shards import checked_sums
from vitrine.data.shards.checked_sums import check_sums
from vitrine.data.shards.schema import ShardEntry


@pytest.fixture
def shards(tmp_path: Path) -> list[ShardEntry]:
    entries = []
    for name in ("a.tar", "b.tar"):
        (tmp_path / name).write_bytes(name.encode())
        entries.append(ShardEntry(name, 1, hashlib.sha256(name.encode()).hexdigest()))
    return entries


def test_only_what_changed_is_read(tmp_path: Path, shards: list[ShardEntry], monkeypatch: pytest.MonkeyPatch) -> None:
    read, record, actual = list[str](), tmp_path / "record.json", checked_sums._sha256

    def noted(path: Path) -> str:
        read.append(path.name)
        return actual(path)

    monkeypatch.setattr(checked_sums, "_sha256", noted)
    check_sums(tmp_path, shards, record)
    assert sorted(read) == ["a.tar", "b.tar"]
    check_sums(tmp_path, shards, record)
    assert len(read) == 2
    (tmp_path / "b.tar").write_bytes(b"b.tar")
    check_sums(tmp_path, shards, record)
    assert read[2:] == ["b.tar"]


def test_a_tar_of_other_content_is_named(tmp_path: Path, shards: list[ShardEntry]) -> None:
    record = tmp_path / "record.json"
    check_sums(tmp_path, shards, record)
    (tmp_path / "b.tar").write_bytes(b"c.tar")
    for _ in range(2):  # it is not taken for checked the next time
        with pytest.raises(ValueError, match=rf"{tmp_path}/b\.tar .*vitrine\.shards verify {tmp_path}"):
            check_sums(tmp_path, shards, record)


def test_another_index_over_the_same_files(tmp_path: Path, shards: list[ShardEntry]) -> None:
    record = tmp_path / "record.json"
    check_sums(tmp_path, shards, record)
    with pytest.raises(ValueError, match=r"a\.tar"):
        check_sums(tmp_path, [ShardEntry("a.tar", 1, "0" * 64), shards[1]], record)


def test_an_absent_tar(tmp_path: Path, shards: list[ShardEntry]) -> None:
    (tmp_path / "a.tar").unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.tar"):
        check_sums(tmp_path, shards, tmp_path / "record.json")
