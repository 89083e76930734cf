import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from vitrine.data.shards.sample import Sample
from vitrine.data.shards.verifier import verify
from vitrine.data.shards.writer import write_shards

Members = list[tuple[str, bytes]]
SHARD = "shard-000000.tar"


@pytest.fixture
def split(tmp_path: Path, make_samples: Callable[[int], list[Sample]]) -> Path:
    write_shards(
        make_samples(6),
        tmp_path / "out",
        dataset="pets",
        split="train",
        classes=["cat", "dog"],
        annotations=["boxes"],
        shard_size=3,
        workers=1,
    )
    return tmp_path / "out"


def problems(folder: Path) -> list[str]:
    return verify(folder, workers=1).problems


def edit_index(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    entries = json.loads((folder / "index.json").read_text())
    change(entries)
    (folder / "index.json").write_text(json.dumps(entries))


def edit_shard(folder: Path, change: Callable[[Members], Members]) -> None:
    """Rewrites the first shard's members and its checksum, so that the members alone are wrong."""
    path = folder / SHARD
    with tarfile.open(path) as tar:
        members = [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    with tarfile.open(path, "w") as tar:
        for name, data in change(members):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    edit_index(folder, lambda entries: entries["shards"][0].update(sha256=digest))


def edit_record(folder: Path, **changes: Any) -> None:
    def change(members: Members) -> Members:
        (image, (name, text), *others) = members
        return [image, (name, json.dumps({**json.loads(text), **changes}).encode()), *others]

    edit_shard(folder, change)


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


def test_any_flipped_byte_is_found(split: Path) -> None:
    original = (split / SHARD).read_bytes()
    for position in (0, 130, 520, 1030, len(original) // 2, len(original) - 1):
        damaged = bytearray(original)
        damaged[position] ^= 0x41
        (split / SHARD).write_bytes(bytes(damaged))
        assert problems(split)[0].startswith(f"{SHARD}: its sha256 differs")


def test_a_truncated_shard_is_found(split: Path) -> None:
    data = (split / SHARD).read_bytes()
    (split / SHARD).write_bytes(data[:2200])
    found = problems(split)
    assert any("its sha256 differs" in problem for problem in found)
    assert any("cannot be read as a tar" in problem or "samples, index.json says 3" in problem for problem in found)


@pytest.mark.parametrize(
    ("dropped", "message"), [(0, "it has 0 images (jpg, jpeg, png) in place of 1"), (1, "its json is missing")]
)
def test_a_missing_member_is_named(split: Path, dropped: int, message: str) -> None:
    edit_shard(split, lambda members: [member for at, member in enumerate(members) if at != dropped])
    assert problems(split)[0].startswith(f"{SHARD}: sample 's")
    assert problems(split)[0].endswith(message)


def test_a_superfluous_member_is_named(split: Path, picture: Callable[..., bytes]) -> None:
    edit_shard(split, lambda members: [(members[0][0][:4] + ".mask.png", picture(0, mode="L")), *members])
    assert "it has a superfluous member .mask.png" in problems(split)[0]


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": 2}, "label 2 is outside the 2 classes (0 to 1)"),
        ({"boxes": [[5, 5, 5, 6]]}, "box 0 [5, 5, 5, 6]"),
        ({"width": 9}, "its png is 8 x 6, its json says 9 x 6"),
        ({"parts": []}, "parts are not among the annotations"),
    ],
)
def test_a_bad_record_is_named(split: Path, changes: dict[str, Any], message: str) -> None:
    edit_record(split, **changes)
    assert message in problems(split)[0]


def test_a_json_that_is_none_is_named(split: Path) -> None:
    edit_shard(split, lambda members: [members[0], (members[1][0], b"{"), *members[2:]])
    assert "its json cannot be read" in problems(split)[0]


def test_an_image_that_does_not_decode_is_named(split: Path) -> None:
    edit_shard(split, lambda members: [(members[0][0], members[0][1][:40]), *members[1:]])
    found = problems(split)
    assert len(found) == 1
    assert "its png is " in found[0]


def test_a_key_in_two_shards_is_found(split: Path) -> None:
    with tarfile.open(split / "shard-000001.tar") as tar:
        names = tar.getnames()
    key = names[0].partition(".")[0]
    edit_shard(split, lambda members: [(f"{key}.png", members[0][1]), (f"{key}.json", members[1][1]), *members[2:]])
    assert problems(split) == [f"shard-000001.tar: key {key!r} is in {SHARD} too"]


def test_a_sample_torn_apart_is_found(split: Path) -> None:
    edit_shard(split, lambda members: [*members[1:], members[0]])
    assert any("is in shard-000000.tar too" in problem for problem in problems(split))


def test_absent_and_stray_shards_are_named(split: Path) -> None:
    (split / "shard-000001.tar").rename(split / "shard-000007.tar")
    assert problems(split)[:2] == [
        "shard-000001.tar: listed in index.json but absent",
        "shard-000007.tar: not listed in index.json",
    ]


def test_a_mask_must_be_binary_and_objects_16_bit(tmp_path: Path, picture: Callable[..., bytes]) -> None:
    kinds: list[Literal["mask", "objects"]] = ["mask", "objects"]
    blank = picture(0, mode="1")
    sample = Sample("a", picture(1), 0, mask=blank, objects=picture(2, mode="L"))
    write_shards(
        [sample], tmp_path / "out", dataset="d", split="s", classes=["c"], annotations=kinds, shard_size=3, workers=1
    )
    assert problems(tmp_path / "out") == []
    wrong = picture(5, mode="L")
    edit_shard(tmp_path / "out", lambda members: [*members[:2], ("a.mask.png", wrong), ("a.objects.png", wrong)])
    assert problems(tmp_path / "out") == [
        f"{SHARD}: sample 'a': its mask is no 8-bit grey PNG of 0 and 255 (or 0 and 1)",
        f"{SHARD}: sample 'a': its object map is no 16-bit grey PNG",
    ]
