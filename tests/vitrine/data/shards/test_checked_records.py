"""Checks of a split's records before a run; what they find in edited shards is in `test_stored_sample`."""

from pathlib import Path

import pytest

from tests.helpers.shard_edits import edit_index, edit_record
from vitrine.data.shards import checked_records as module
from vitrine.data.shards.checked_records import check_records
from vitrine.data.shards.reader import open_file
from vitrine.data.shards.schema import read_index


def test_records_are_read_once_as_long_as_the_index_stays(
    split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, opened = tmp_path / "kept.json", list[str]()

    def counted(path: Path) -> int:
        opened.append(path.name)
        return open_file(path)

    monkeypatch.setattr(module, "open_file", counted)
    check_records(split, read_index(split), kept)
    check_records(split, read_index(split), kept)
    assert opened == ["shard-000000.tar", "shard-000001.tar"]
    edit_record(split, label=7)
    with pytest.raises(ValueError, match=r"s\d+ in .*shard-000000\.tar: label 7 is outside the 2 classes"):
        check_records(split, read_index(split), kept)


def test_wrong_counts_of_classes_are_named(split: Path, tmp_path: Path) -> None:
    edit_index(split, lambda entries: entries.update(class_counts=[2, 4]))
    with pytest.raises(ValueError, match=r"index\.json has 2 samples of the class cat in class_counts, its shards 3"):
        check_records(split, read_index(split), tmp_path / "kept.json")
