"""File stamps: they change whenever a file does."""

import os
from pathlib import Path

import pytest

from vitrine.core.file_stamps import file_stamp, read_stamps, write_stamps


def test_a_stamp_changes_with_the_file(tmp_path: Path) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    path.write_bytes(b"abc")
    os.utime(path, (1000, 1000))
    stamp = file_stamp(path)
    assert file_stamp(path) == stamp
    other.write_bytes(b"abd")
    os.utime(other, (1000, 1000))
    other.replace(path)  # of the same size and date
    assert file_stamp(path)[:2] == stamp[:2]
    assert file_stamp(path) != stamp
    with pytest.raises(FileNotFoundError):
        file_stamp(other)


def test_stamps_come_back(tmp_path: Path) -> None:
    record = tmp_path / "folder" / "record.json"
    assert read_stamps(record) == {}
    write_stamps(record, {"a": (1, 2, 3)})
    assert read_stamps(record) == {"a": (1, 2, 3)}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}', '{"a": [1, 2]}', '{"a": [1, 2, "x"]}'])
def test_a_damaged_record_says_nothing(tmp_path: Path, text: str) -> None:
    record = tmp_path / "record.json"
    record.write_text(text)
    assert read_stamps(record) == {}


def test_what_cannot_be_recorded_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    write_stamps(tmp_path / "file" / "record.json", {})
