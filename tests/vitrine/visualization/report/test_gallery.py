"""The gallery's folder: written entry by entry, replaced as a whole."""

import gc
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.helpers.gallery_entries import entry
from tests.helpers.pages import cards_of
from vitrine.visualization.report import GalleryEntry, write_gallery

NASTY = "<script>alert('x')</script> & \"co\" \u2028"


def write(folder: Path, *entries: GalleryEntry) -> Path:
    return write_gallery(folder / "report", entries, title="t", metrics={}, class_names=["loon", "tern", NASTY])


def test_returns_the_page_beside_its_data_and_pictures(tmp_path: Path) -> None:
    assert write(tmp_path, entry("k")) == tmp_path / "report" / "index.html"
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*") if path.name[0] != ".")
    pictures = [f"report/images/0001{part}.webp" for part in ("-1", "-2", "-3", "-all", "")]
    assert names == ["report/cards.js", *pictures, "report/index.html"]


def test_entries_keep_their_order(tmp_path: Path) -> None:
    write(tmp_path, *(entry(f"image {n}") for n in range(30)))
    assert [card["key"] for card in cards_of(tmp_path / "report")] == [f"image {n}" for n in range(30)]


def test_a_generator_is_read_as_pictures_are_written(tmp_path: Path) -> None:
    """Only the few images that wait to be drawn are in memory at once."""
    made: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    def entries() -> Iterator[GalleryEntry]:
        for n in range(40):
            one = entry(f"{n:03d}")
            made.append(weakref.ref(one.image))
            yield one
            del one
            gc.collect()
            alive.append(sum(image() is not None for image in made))

    write_gallery(tmp_path / "r", entries(), title="t", metrics={}, class_names=[])
    assert len(cards_of(tmp_path / "r")) == 40
    assert max(alive) <= 3 * torch.get_num_threads() + 3


def test_data_can_end_no_script(tmp_path: Path) -> None:
    page = write(tmp_path, entry(NASTY, label=2, prediction=2))
    text = (page.parent / "cards.js").read_text(encoding="utf-8")
    assert "<" not in text
    assert "\u2028" not in text
    assert cards_of(page.parent)[0]["key"] == NASTY
    assert "<script>alert" not in page.read_text(encoding="utf-8")


def test_an_earlier_gallery_is_replaced_whole(tmp_path: Path) -> None:
    write(tmp_path, entry("a"), entry("b"))
    write(tmp_path, entry("c"))
    assert not list(tmp_path.glob("report/images/0002*"))
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_an_error_leaves_the_earlier_gallery(tmp_path: Path) -> None:
    write(tmp_path, entry("a"))
    with pytest.raises(FileNotFoundError):
        write(tmp_path, entry("b"), replace(entry("c"), original=tmp_path / "none.jpg"))
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    assert [card["key"] for card in cards_of(tmp_path / "report")] == ["a"]


def test_an_empty_gallery_says_so(tmp_path: Path) -> None:
    text = write(tmp_path).read_text(encoding="utf-8")
    assert "The gallery is empty." in text
    assert "<form" not in text
