"""What is found in one shard: changed bytes, members, records and pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.helpers.shard_edits import SHARD, edit_record, edit_shard, problems
from vitrine.data.shards.sample import Sample
from vitrine.data.shards.writer import write_shards


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


def test_a_sample_torn_apart_is_found(split: Path) -> None:
    edit_shard(split, lambda members: [*members[1:], members[0]])
    assert any("is in shard-000000.tar too" in problem for problem in problems(split))


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
