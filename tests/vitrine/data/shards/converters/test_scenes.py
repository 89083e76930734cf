"""Names of scene categories in their several spellings, and files that list them."""

from pathlib import Path

import pytest

from vitrine.data.shards.converters.scenes import ROOMS, canonical, find_scenes, index_by_name, read_categories


@pytest.mark.parametrize(
    "name", ["/b/booth/indoor", "booth/indoor", "booth-indoor", "booth__indoor", " booth indoor ", "booth_indoor"]
)
def test_one_spelling_of_a_category(name: str) -> None:
    assert canonical(name) == "booth_indoor"


def test_categories_are_read_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "categories.txt"
    path.write_text("/a/airfield 0\n\n/b/booth/indoor 1\nkitchen\n")
    assert read_categories(path) == ["airfield", "booth/indoor", "kitchen"]
    assert index_by_name(read_categories(path)) == {"airfield": 0, "booth_indoor": 1, "kitchen": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/a/airfield 1\n", "airfield has the index 1 in place of 0"),
        ("booth-indoor\nbooth/indoor\n", "lists booth/indoor twice"),
        ("\n", "is empty"),
    ],
)
def test_a_list_that_cannot_be_used(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "categories.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_categories(tmp_path / "categories.txt")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.txt does not exist"):
        read_categories(tmp_path / "nowhere.txt")


def test_scenes_are_found_in_any_spelling_and_sorted() -> None:
    known = index_by_name([*reversed(ROOMS), "booth/indoor"])
    assert find_scenes(["booth-indoor", "bathroom", "/b/bathroom"], known, Path("x")) == [len(ROOMS) - 1, len(ROOMS)]
    with pytest.raises(ValueError, match="'cellar' is no scene category of x: give names such as bathroom"):
        find_scenes(["bathroom", "cellar"], known, Path("x"))
