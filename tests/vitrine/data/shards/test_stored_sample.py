"""Edited shards: whatever is edited, also with its checksum, is a sentence before and while it is read, and to verify."""

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from datamodules.samples import SampleError
from datamodules.split import Split
from tests.helpers.shard_edits import SHARD, Members, edit_index, edit_shard, problems
from tests.helpers.time_limits import time_limit
from tests.vitrine.data.shards.conftest import PixelBytes
from vitrine.data.shards.checked_records import check_records
from vitrine.data.shards.sample import Sample
from vitrine.data.shards.schema import read_index
from vitrine.data.shards.writer import write_shards

Edit = Callable[[Path, PixelBytes], object]


def record(**changes: Any) -> Edit:
    """Changes entries of the first sample's record; None of ``...`` removes them."""

    def change(members: Members) -> Members:
        entries = {**json.loads(members[1][1]), **changes}
        kept = {name: value for name, value in entries.items() if value is not ...}
        return [members[0], (members[1][0], json.dumps(kept).encode()), *members[2:]]

    return lambda folder, _: edit_shard(folder, change)


def text(new: bytes) -> Edit:
    return lambda folder, _: edit_shard(folder, lambda found: [found[0], (found[1][0], new), *found[2:]])


def members(change: Callable[[Members], Members]) -> Edit:
    return lambda folder, _: edit_shard(folder, change)


def picture(place: int, **options: Any) -> Edit:
    """Replaces the picture of the first sample at a place among its members."""

    def edit(folder: Path, make: PixelBytes) -> None:
        edit_shard(folder, lambda found: [*found[:place], (found[place][0], make(3, **options)), *found[place + 1 :]])

    return edit


def raw(**header: Any) -> Edit:
    """Puts a member of another kind before the first."""

    def edit(folder: Path, _: PixelBytes) -> None:
        path = folder / SHARD
        with tarfile.open(path) as tar:
            found = [(member, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
        with tarfile.open(path, "w") as tar:
            odd = tarfile.TarInfo("s000.png")
            for name, value in header.items():
                setattr(odd, name, value)
            tar.addfile(odd)
            for member, data in found[1:]:
                tar.addfile(member, io.BytesIO(data))
        edit_shard_sum(folder)

    return edit


def edit_shard_sum(folder: Path) -> None:
    digest = hashlib.sha256((folder / SHARD).read_bytes()).hexdigest()
    edit_index(folder, lambda entries: entries["shards"][0].update(sha256=digest))


def cut(length: int) -> Edit:
    def edit(folder: Path, _: PixelBytes) -> None:
        (folder / SHARD).write_bytes((folder / SHARD).read_bytes()[:length])
        edit_shard_sum(folder)

    return edit


def content(data: bytes) -> Edit:
    def edit(folder: Path, _: PixelBytes) -> None:
        (folder / SHARD).write_bytes(data)
        edit_shard_sum(folder)

    return edit


def negative_size(folder: Path, _: PixelBytes) -> None:
    """A header that sends a reader back to itself."""
    data = bytearray((folder / SHARD).read_bytes())
    data[124:136] = b"-0000002000\0"
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    (folder / SHARD).write_bytes(bytes(data))
    edit_shard_sum(folder)


RECORDS: dict[str, Edit] = {
    "label 99": record(label=99),
    "label -1": record(label=-1),
    "label 1.5": record(label=1.5),
    "label NaN": record(label=float("nan")),
    "label text": record(label="1"),
    "label true": record(label=True),
    "label null": record(label=None),
    "label list": record(label=[0]),
    "label dict": record(label={"0": 1}),
    "label huge": record(label=10**300),
    "no label": record(label=...),
    "width": record(width=9),
    "width 0": record(width=0),
    "width of a dict": record(width={}),
    "width text": record(width="8"),
    "no height": record(height=...),
    "boxes shape": record(boxes=[[1, 2, 3]]),
    "boxes flat": record(boxes=[1, 2, 3, 4]),
    "boxes text": record(boxes="1234"),
    "boxes null": record(boxes=None),
    "boxes infinite": record(boxes=[[0, 0, 1e999, 3]]),
    "boxes huge": record(boxes=[[0, 0, 10**400, 3]]),
    "boxes bool": record(boxes=[[False, False, True, True]]),
    "boxes flipped": record(boxes=[[5, 5, 1, 1]]),
    "no boxes": record(boxes=...),
    "box labels": record(box_labels=[7]),
    "parts of a wrong number": record(parts=[[1, 1, 1]]),
    "parts beyond": record(parts=[[1, 1, 1], [900, 1, 1]]),
    "parts of visibility 2": record(parts=[[1, 1, 1], [1, 1, 2]]),
    "no parts": record(parts=...),
    "torn json": text(b'{"label": 1'),
    "empty json": text(b""),
    "json of bytes": text(b"\xff\xfe\x00"),
    "json list": text(b"[1]"),
    "json null": text(b"null"),
    "deep json": text(b"[" * 200_000),
    "deep entry": text(b'{"label": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "long number": text(b'{"label": ' + b"9" * 5000 + b"}"),
    "doubled label": text(b'{"label": 0, "label": 1, "width": 8, "height": 6, "boxes": [], "parts": []}'),
}
"""What check_records finds too, before anything is decoded."""
OTHERS: dict[str, Edit] = {
    "no picture": members(lambda found: found[1:]),
    "no json": members(lambda found: [found[0], *found[2:]]),
    "no mask": members(lambda found: [*found[:2], *found[3:]]),
    "two pictures": members(lambda found: [found[0], ("s000.jpg", found[0][1]), *found[1:]]),
    "two jsons": members(lambda found: [found[0], found[1], found[1], *found[2:]]),
    "interleaved": members(lambda found: [found[0], *found[3:5], found[1], found[2], *found[5:]]),
    "a key twice": members(lambda found: [*found[3:6], *found[3:]]),
    "torn picture": members(lambda found: [(found[0][0], found[0][1][:40]), *found[1:]]),
    "no picture but text": members(lambda found: [(found[0][0], b"hello"), *found[1:]]),
    "picture of another size": picture(0, size=(9, 6)),
    "mask of another size": picture(2, size=(4, 3), mode="1"),
    "mask in colour": picture(2),
    "mask of grey": picture(2, mode="L"),
    "torn mask": members(lambda found: [*found[:2], (found[2][0], b"\x89PNG"), *found[3:]]),
    "symbolic link": raw(type=tarfile.SYMTYPE, linkname="/etc/hostname"),
    "hard link": raw(type=tarfile.LNKTYPE, linkname="nowhere"),
    "pipe": raw(type=tarfile.FIFOTYPE),
    "device": raw(type=tarfile.CHRTYPE),
    "absolute name": members(lambda found: [("/" + name, data) for name, data in found]),
    "name outside": members(lambda found: [("../" + name, data) for name, data in found]),
    "negative size": negative_size,
    "truncated": cut(1200),
    "truncated header": cut(300),
    "empty": cut(0),
    "no tar": content(b"hello" * 999),
    "zeros": content(bytes(10240)),
    "gzip": content(gzip.compress(bytes(10240))),
}


@pytest.fixture
def annotated(tmp_path: Path, picture: PixelBytes) -> Path:
    """Four samples with boxes, parts and masks in two shards."""
    samples = [
        Sample(
            f"s{number:03d}",
            picture(number),
            number % 2,
            boxes=[(1, 1, 5, 4)],
            parts=[(1, 1, 1), (2, 2, 0)],
            mask=picture(0, mode="1"),
        )
        for number in range(4)
    ]
    options: Any = {"annotations": ["boxes", "parts", "mask"], "part_names": ["beak", "tail"], "seed": 1}
    write_shards(
        samples, tmp_path / "set", dataset="d", split="train", classes=["a", "b"], shard_size=2, workers=1, **options
    )
    return tmp_path / "set"


@pytest.fixture(autouse=True)
def limited() -> Iterator[None]:
    with time_limit():
        yield


def read_all(folder: Path) -> None:
    split = Split.read(folder)
    for row in range(split.index.count):
        split.decode(split.raw_sample(row))


def test_a_whole_split_is_read(annotated: Path, tmp_path: Path) -> None:
    read_all(annotated)
    check_records(annotated, read_index(annotated), tmp_path / "records.json")
    assert problems(annotated) == []


@pytest.mark.parametrize("name", [*RECORDS, *OTHERS])
def test_an_edited_shard_is_a_sentence(annotated: Path, picture: PixelBytes, tmp_path: Path, name: str) -> None:
    (RECORDS | OTHERS)[name](annotated, picture)
    with pytest.raises((SampleError, ValueError)) as told:
        read_all(annotated)
    message = str(told.value)
    assert isinstance(told.value, SampleError)
    assert SHARD in message
    assert "\n" not in message
    assert len(message) < 700
    found = problems(annotated)
    assert found
    assert all(SHARD in problem or "index.json" in problem or "shard-000001" in problem for problem in found)
    if name in RECORDS and name != "width":
        with pytest.raises(ValueError, match=SHARD):
            check_records(annotated, read_index(annotated), tmp_path / "records.json")


def test_a_member_that_nobody_asked_for_is_told_by_verify_alone(annotated: Path) -> None:
    edit_shard(annotated, lambda found: [*found[:1], (found[0][0].partition(".")[0] + ".txt", b"a"), *found[1:]])
    read_all(annotated)
    assert any("superfluous member .txt" in problem for problem in problems(annotated))


INDEXES: dict[str, tuple[dict[str, Any] | bytes, str]] = {
    "classes of numbers": ({"classes": [1, 2]}, "classes"),
    "classes as text": ({"classes": "ab"}, "classes"),
    "a class twice": ({"classes": ["a", "a"]}, "'a' is listed 2 times"),
    "a class fewer": ({"classes": ["a"]}, "class_counts has 2 entries for 1 classes"),
    "count text": ({"count": "4"}, "count"),
    "count true": ({"count": True}, "count"),
    "count 1.5": ({"count": 1.5}, "count"),
    "count of others": ({"count": 5}, "count is 5"),
    "count negative": ({"count": -4}, "count"),
    "class counts": ({"class_counts": [2, 3]}, "class_counts add up to 5"),
    "class counts negative": ({"class_counts": [-2, 6]}, "class_counts"),
    "class counts null": ({"class_counts": None}, "class_counts"),
    "class counts text": ({"class_counts": ["2", "2"]}, "class_counts"),
    "annotations": ({"annotations": ["shadow"]}, r"annotations \['shadow'\]"),
    "annotations of lists": ({"annotations": [["mask"]]}, "annotations"),
    "multi label": ({"multi_label": "no"}, "multi_label"),
    "part names": ({"part_names": [1]}, "part_names"),
    "shards null": ({"shards": [None]}, "a shard without file"),
    "shards dict": ({"shards": {}}, "shards"),
    "file null": ({"shards": [{"file": None, "count": 4, "sha256": "a"}]}, "a shard without file"),
    "file outside": ({"shards": [{"file": "../a.tar", "count": 4, "sha256": "a"}]}, "no plain file name"),
    "file above": ({"shards": [{"file": "..", "count": 4, "sha256": "a"}]}, "no plain file name"),
    "file of zeros": ({"shards": [{"file": "a\0.tar", "count": 4, "sha256": "a"}]}, "no plain file name"),
    "shard count": ({"shards": [{"file": SHARD, "count": "4", "sha256": "a"}]}, "a shard without file"),
    "a shard twice": ({"shards": [{"file": SHARD, "count": 2, "sha256": "a"}] * 2}, "is listed 2 times"),
    "version": ({"schema_version": 9}, "schema_version 9"),
    "empty": (b"", "is not JSON"),
    "zeros": (b"\0" * 99, "is not JSON"),
    "bytes": (b"\xff\xfe{", "is not JSON"),
    "deep": (b"[" * 200_000, "nested too deep"),
    "deep entry": (b'{"schema_version": ' + b'{"a": ' * 100_000, "nested too deep"),
    "NaN": (b'{"schema_version": NaN}', "NaN is no number"),
    "doubled": (b'{"schema_version": 1, "schema_version": 1}', "'schema_version' stands twice"),
    "long number": (b'{"schema_version": ' + b"1" * 5000 + b"}", "is not JSON"),
    "null": (b"null", "schema_version None"),
}


@pytest.mark.parametrize("name", INDEXES)
def test_an_edited_index_is_a_sentence(annotated: Path, name: str) -> None:
    change, message = INDEXES[name]
    if isinstance(change, bytes):
        (annotated / "index.json").write_bytes(change)
    else:
        edit_index(annotated, lambda entries: entries.update(change))
    with pytest.raises(ValueError, match=message) as told:
        Split.read(annotated)
    assert "index.json" in str(told.value)
    assert problems(annotated)


@pytest.mark.parametrize("what", ["folder", "pipe", "link to nothing", "gone"])
def test_a_shard_that_is_no_file_is_a_sentence(annotated: Path, what: str) -> None:
    path = annotated / SHARD
    path.unlink()
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "link to nothing":
        path.symlink_to("nowhere")
    with pytest.raises(FileNotFoundError, match=rf"{SHARD} does not exist, or is no file"):
        Split.read(annotated)
    assert any(SHARD in problem for problem in problems(annotated))


def test_counts_of_classes_and_keys_of_other_shards_are_checked_once(annotated: Path, tmp_path: Path) -> None:
    edit_index(annotated, lambda entries: entries.update(class_counts=[1, 3]))
    kept = tmp_path / "records.json"
    with pytest.raises(ValueError, match=r"index\.json has 1 samples of the class a in class_counts, its shards 2"):
        check_records(annotated, read_index(annotated), kept)
    edit_index(annotated, lambda entries: entries.update(class_counts=[2, 2]))
    check_records(annotated, read_index(annotated), kept)
    shutil.copy(annotated / SHARD, annotated / "shard-000001.tar")
    check_records(annotated, read_index(annotated), kept)  # that file is not the index's, for check_sums to find
    edit_index(annotated, lambda entries: entries["shards"][1].update(sha256=entries["shards"][0]["sha256"]))
    with pytest.raises(
        ValueError, match=rf"shard-000001\.tar has a sample of the key 's.*', as {SHARD} has|class_counts"
    ):
        check_records(annotated, read_index(annotated), kept)
