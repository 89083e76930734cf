"""ImageNet's files of wnids, and its XML with boxes that hold both of their ends."""

from pathlib import Path

import pytest

from tests.helpers.image_sets import annotation
from vitrine.data.shards.converters.imagenet_annotation import (
    AnnotatedObject,
    drawn_size,
    is_wnid,
    name_classes,
    read_annotation,
    read_wnids,
    scaled,
)
from vitrine.data.shards.images import ImageSize


@pytest.mark.parametrize(
    ("text", "expected"), [("n01440764", True), ("n0144076", False), ("x01440764", False), ("", False)]
)
def test_wnids(text: str, expected: bool) -> None:
    assert is_wnid(text) is expected


def test_rows_of_wnids_and_words(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("n01440764 tench, Tinca tinca\nn02012849\tcrane\n\nn03126707\n")
    assert read_wnids(path) == {"n01440764": "tench, Tinca tinca", "n02012849": "crane", "n03126707": ""}
    for text, message in (
        ("tench\n", "line 1, starts with 'tench'"),
        ("n01440764\nn01440764\n", "repeats"),
        ("", "empty"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_wnids(path)


def test_classes_that_share_a_name_are_told_apart() -> None:
    words = {"n01440764": "tench, Tinca tinca", "n02012849": "crane", "n03126707": "crane, lifting"}
    assert name_classes([*words, "n00000001"], words) == [
        "tench",
        "crane (n02012849)",
        "crane (n03126707)",
        "n00000001",
    ]


def test_boxes_become_half_open(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(annotation("a", [("n01440764", (2, 3, 4, 5)), ("n02012849", (0, 0, 11, 9))]))
    found = read_annotation(path)
    assert found.size == (12, 10)
    assert list(found.objects) == [
        AnnotatedObject("n01440764", (2, 3, 5, 6)),
        AnnotatedObject("n02012849", (0, 0, 12, 10)),
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</annotation>", "", "broken XML"),
        ("<xmin>2", "<xmin>two", "box of n01440764 cannot be read"),
        ("<width>12", "<width>?", "size cannot be read"),
    ],
)
def test_a_broken_file_is_named(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(annotation("a", [("n01440764", (2, 3, 4, 5))]).replace(old, new, 1))
    with pytest.raises(ValueError, match=rf"a\.xml.*{message}"):
        read_annotation(path)


def test_a_box_of_a_picture_of_another_size() -> None:
    assert scaled((2, 3, 4, 6), (10, 10), (20, 5)) == (4, 1.5, 8, 3)
    assert scaled((2, 3, 11, 12), (10, 10), (40, 40)) == (8, 12, 40, 48)  # a pixel too far, and two
    assert scaled((2, 3, 4, 6), (20, 5), (20, 5)) == (2, 3, 4, 6)
    assert scaled((2, 3, 4, 6), (0, 0), (20, 5)) == (2, 3, 4, 6)  # the file does not say


@pytest.mark.parametrize(
    ("annotated", "drawn"),
    [((40, 24), (40, 24)), ((24, 40), (24, 40)), ((0, 0), (40, 24)), ((400, 240), (40, 24)), ((12, 20), (24, 40))],
)
def test_the_order_of_the_sides_tells_what_was_annotated(
    annotated: tuple[float, float], drawn: tuple[int, int]
) -> None:
    """The stored pixels, or the upright ones."""
    assert drawn_size(annotated, ImageSize((40, 24), (24, 40))) == drawn
    assert drawn_size(annotated, ImageSize((40, 24), (40, 24))) == (40, 24)


def test_wnids_of_the_names_in_a_folder(tmp_path: Path) -> None:
    for name in ("n02012849_crane_1.JPEG", "n01440764", "n02012849_crane_2.JPEG", "list.txt"):
        (tmp_path / name).touch()
    assert read_wnids(tmp_path) == {"n01440764": "", "n02012849": "crane 1"}
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no name that begins with a wnid"):
        read_wnids(tmp_path / "empty")
