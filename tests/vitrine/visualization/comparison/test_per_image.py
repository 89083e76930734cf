"""Per-image files: what is read back, and what names file and line."""

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.tested_runs import write_rows
from vitrine.visualization.comparison.per_image import read_per_image


def test_rows_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "per_image.csv"
    write_rows(path, ["iou", "f/b"], [("a, b", "x", {"iou": 1.5}), ("a\nc", "y", {"iou": -2e-9, "f/b": 3})])
    found = read_per_image(path)
    assert list(found.keys) == ["a, b", "a\nc"]
    assert list(found.targets) == ["x", "y"]
    np.testing.assert_array_equal(found.values["iou"], [1.5, -2e-9])
    np.testing.assert_array_equal(found.values["f/b"], [np.nan, 3])


def test_apostrophes_of_safe_cells_go(tmp_path: Path) -> None:
    path = tmp_path / "per_image.csv"
    path.write_text("key,target,iou\n'=a,'-b,\n")
    found = read_per_image(path)
    assert (found.keys[0], found.targets[0]) == ("=a", "-b")


def test_a_file_may_have_no_figures_and_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "per_image.csv"
    path.write_text("key,target\na,b\n")
    assert read_per_image(path).values == {}
    path.write_text("key,target,iou\n")
    assert read_per_image(path).values["iou"].shape == (0,)


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("key,target,iou\na,b,1\nc,d\n", 3, "2 cells, not 3"),
        ("key,target,iou\na,b,1\n\nc,d,1\n", 3, "0 cells"),
        ("key,target,iou\na,b,1,2\n", 2, "4 cells"),
        ("key,target,iou\n'a\n',b,1\n", 2, "1 cells"),
        ('key,target,iou\n"a\n",b,1\nc,d,0.5x\n', 4, "'0.5x' for iou"),
        ('key,target,iou\na,b,1\n"c,d,1\n', 3, "no CSV"),
        ("image,iou\na,1\n", 1, "key,target"),
        ("key,target,iou,iou\na,b,1,2\n", 1, "'iou' twice"),
        ("", 1, "empty"),
    ],
)
def test_damage_names_file_and_line(tmp_path: Path, text: str, line: int, told: str) -> None:
    path = tmp_path / "per_image.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"run train\.py test again") as error:
        read_per_image(path)
    assert f"{path}, line {line} " in str(error.value)
    assert told in str(error.value)
