"""Verification of a whole split: its index, its shards together, and samples that do not fit each other."""

import tarfile
from pathlib import Path

from tests.helpers.shard_edits import SHARD, edit_index, edit_record, edit_shard, problems
from vitrine.data.shards.verifier import verify


def test_what_only_some_samples_say_of_their_boxes_is_found(split: Path) -> None:
    edit_record(split, box_labels=[0])
    assert problems(split) == ["index.json: some samples have box_labels or box_difficult, others have not"]
    edit_record(split, box_labels=[2])
    assert f"{SHARD}: sample " in problems(split)[0]


def test_a_whole_split_has_no_problem_also_on_two_workers(split: Path) -> None:
    outcome = verify(split, workers=2)
    assert outcome.problems == []
    assert outcome.index is not None
    assert outcome.index.count == 6


def test_a_wrong_count_is_found(split: Path) -> None:
    edit_index(split, lambda entries: entries.update(count=7))
    assert problems(split) == ["index.json: count is 7, its shards add up to 6"]
    edit_index(split, lambda entries: entries["shards"][1].update(count=4))
    assert problems(split) == ["shard-000001.tar: holds 3 samples, index.json says 4"]


def test_wrong_class_counts_are_found(split: Path) -> None:
    edit_index(split, lambda entries: entries.update(class_counts=[2, 4]))
    assert problems(split) == ["index.json: class_counts are [2, 4], the samples' [3, 3]"]


def test_unsorted_or_unknown_annotations_are_found(split: Path) -> None:
    edit_index(split, lambda entries: entries.update(annotations=["boxes", "boxes"]))
    assert problems(split)[0].startswith("index.json: annotations ['boxes', 'boxes'] are no sorted subset")


def test_a_key_in_two_shards_is_found(split: Path) -> None:
    with tarfile.open(split / "shard-000001.tar") as tar:
        names = tar.getnames()
    key = names[0].partition(".")[0]
    edit_shard(split, lambda members: [(f"{key}.png", members[0][1]), (f"{key}.json", members[1][1]), *members[2:]])
    assert problems(split) == [f"shard-000001.tar: key {key!r} is in {SHARD} too"]


def test_absent_and_stray_shards_are_named(split: Path) -> None:
    (split / "shard-000001.tar").rename(split / "shard-000007.tar")
    assert problems(split)[:2] == [
        "shard-000001.tar: listed in index.json but absent",
        "shard-000007.tar: not listed in index.json",
    ]
