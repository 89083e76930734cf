import json
from pathlib import Path
from typing import Any

import pytest

from vitrine.data.shards.schema import ShardEntry, ShardIndex, read_index


def index(**changes: Any) -> ShardIndex:
    entries: dict[str, Any] = {
        "dataset": "pets",
        "split": "train",
        "classes": ["cat", "dog"],
        "multi_label": False,
        "annotations": ["boxes"],
        "count": 3,
        "class_counts": [1, 2],
        "shards": [ShardEntry("shard-000000.tar", 3, "ab")],
    }
    return ShardIndex(**{**entries, **changes})


def write(folder: Path, text: str) -> Path:
    (folder / "index.json").write_text(text)
    (folder / "shard-000000.tar").touch()
    return folder


def test_an_index_reads_back_as_written(tmp_path: Path) -> None:
    names = index(object_names=["wall", "", "sky"], annotations=["objects"])
    for written in (
        index(),
        names,
        index(part_names=["beak", "tail"], annotations=["boxes", "parts"], multi_label=True),
    ):
        assert read_index(write(tmp_path, written.to_json())) == written


def test_the_json_has_the_schemas_entries_and_no_null_part_names() -> None:
    assert json.loads(index().to_json()) == {
        "schema_version": 1,
        "dataset": "pets",
        "split": "train",
        "classes": ["cat", "dog"],
        "multi_label": False,
        "annotations": ["boxes"],
        "count": 3,
        "class_counts": [1, 2],
        "shards": [{"file": "shard-000000.tar", "count": 3, "sha256": "ab"}],
    }


def test_an_absent_index_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"index\.json does not exist"):
        read_index(tmp_path)


def test_a_listed_shard_that_is_absent_is_named(tmp_path: Path) -> None:
    write(tmp_path, index().to_json())
    (tmp_path / "shard-000000.tar").unlink()
    with pytest.raises(FileNotFoundError, match=r"shard-000000\.tar does not exist"):
        read_index(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"index\.json is not JSON"),
        ("[]", "schema_version None"),
        (index(schema_version=2).to_json(), "schema_version 2, this release reads 1"),
        (index(count="3").to_json(), "no entry 'count' of type int"),
        (index(part_names="beak").to_json(), "no entry 'part_names' of type list"),
        (index(object_names={"1": "wall"}).to_json(), "no entry 'object_names' of type list"),
        (index(shards=[{"file": "shard-000000.tar"}]).to_json(), "a shard without file, count and sha256"),
        (index(shards=[ShardEntry("../shard-000000.tar", 3, "ab")]).to_json(), "no plain file name"),
    ],
)
def test_an_index_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_index(write(tmp_path, text))
