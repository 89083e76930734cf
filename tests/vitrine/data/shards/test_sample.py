"""One sample: its key, what is wrong with it before a file is read, and the members that it becomes."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers import oriented_pictures as pictures
from vitrine.data.shards.rules import RecordRules
from vitrine.data.shards.sample import Sample, declared_problems, encode_sample, make_key, upright_boxes

PixelBytes = Callable[..., bytes]


def rules(*annotations: str, num_parts: int | None = None) -> RecordRules:
    return RecordRules(3, multi_label=False, annotations=frozenset(annotations), num_parts=num_parts)


@pytest.mark.parametrize(
    ("relative", "key"),
    [
        ("cat/1.png", "cat__1"),
        ("001.Albatross/A_1.jpg", "001_Albatross__A_1"),
        (Path("a.b.c.jpg"), "a_b_c"),
        ("x", "x"),
    ],
)
def test_a_key_has_no_dots_and_slashes(relative: str, key: str) -> None:
    assert make_key(relative) == key


def test_a_sample_is_named_by_its_file_or_its_key(tmp_path: Path) -> None:
    assert Sample("a", tmp_path / "a.png", 0).name == str(tmp_path / "a.png")
    assert Sample("a", b"", 0).name == "sample 'a'"


def test_labels_are_a_list() -> None:
    assert Sample("a", b"", np.int64(2)).labels == [2]  # type: ignore[arg-type]
    assert Sample("a", b"", [0, 2]).labels == [0, 2]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, None),
        ({"key": "a.b"}, "the key 'a.b' is empty or holds a dot or slash"),
        ({"key": ""}, "the key '' is empty"),
        ({"extra": {"label": 3}}, "the extra entry 'label' is a name of the schema"),
        ({"boxes": None}, "it lacks boxes"),
        ({"mask": b""}, "it has undeclared mask"),
        ({"label": 3}, "3"),
    ],
)
def test_what_is_wrong_with_a_sample_is_seen_before_a_file_is_read(
    changes: dict[str, Any], problem: str | None
) -> None:
    sample = replace(Sample("a", Path("nowhere.png"), 1, boxes=[(0, 0, 1, 1)]), **changes)
    found = declared_problems(sample, rules("boxes"))
    assert len(found) == (problem is not None)
    assert problem is None or problem in found[0]


def white_mask(height: int, width: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((height, width), 255, np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def test_members_of_a_sample(picture: PixelBytes) -> None:
    sample = Sample(
        "a", picture(0), 1, boxes=[(1, 1, 5, 4)], parts=[(1, 2, True)], mask=white_mask(6, 8), extra={"source": "x"}
    )
    members = encode_sample(sample, rules("boxes", "parts", "mask", num_parts=1))
    assert list(members) == ["a.png", "a.json", "a.mask.png"]
    assert members["a.png"] == picture(0)
    assert json.loads(members["a.json"]) == {
        "label": 1, "width": 8, "height": 6, "boxes": [[1, 1, 5, 4]], "parts": [[1, 2, 1]], "source": "x",
    }  # fmt: skip


def test_a_source_may_be_a_file_or_a_callable(tmp_path: Path, picture: PixelBytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(picture(3))
    for source in (path, picture(3), lambda: picture(3)):
        assert encode_sample(Sample("a", source, 0), rules())["a.png"] == picture(3)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.png does not exist: restore the file"):
        encode_sample(Sample("a", path, 0), rules())


def test_a_mask_of_another_size_and_a_record_that_breaks_a_rule(picture: PixelBytes) -> None:
    sample = Sample("a", picture(0), 0, mask=white_mask(4, 4))
    with pytest.raises(ValueError, match="mask of sample 'a' is 4 x 4, its image 8 x 6"):
        encode_sample(sample, rules("mask"))
    with pytest.raises(ValueError, match=r"sample 'a': .*box"):
        encode_sample(Sample("a", picture(0), 0, boxes=[(5, 5, 1, 1)]), rules("boxes"))


@pytest.mark.parametrize("tag", pictures.TAGS)
@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_boxes_on_the_upright_image_of_a_file(kind: str, tag: int) -> None:
    stored = pictures.stored_pixels()
    upright = pictures.upright_of(stored, tag)
    for drawn in (stored, upright)[: 2 if tag >= 5 else 1]:
        picture = Image.open(io.BytesIO(pictures.encoded(stored, kind, tag)))
        sample = Sample("a", b"", 0, boxes=[pictures.extent(drawn)], annotated_size=(drawn.shape[1], drawn.shape[0]))
        assert upright_boxes(sample, picture) == ([pictures.extent(upright)], (upright.shape[1], upright.shape[0]))
