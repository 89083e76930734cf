"""Settings of a set: their ranges, which views are tested, and the record that is kept beside the shards."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vitrine.data.an8flower.settings import SETTINGS_FILE, FlowerSettings

PAPER = FlowerSettings("single-6c")


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"variant": "triple"}, ["'triple'", "single-6c", "part-2c"]),
        ({"views": 1}, ["views is 1", "from 2"]),
        ({"size": 7}, ["size is 7", "from 8 to 4096"]),
        ({"crop_size": 301}, ["crop_size is 301", "from 8 to 300"]),
        ({"crops": 0}, ["crops is 0"]),
        ({"rotations": 0}, ["rotations is 0"]),
        ({"folds": 41}, ["folds is 41", "from 2 to 40"]),
        ({"test_fold": 5}, ["test_fold is 5", "from 0 to 4"]),
        ({"supersampling": 9}, ["supersampling is 9", "from 1 to 8"]),
        ({"seed": -1}, ["seed is -1"]),
    ],
)
def test_values_out_of_range_are_named(options: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(ValueError, match="is") as caught:
        replace(PAPER, **options)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("fold", range(5))
def test_folds_split_the_views(fold: int) -> None:
    settings = replace(PAPER, test_fold=fold)
    test, train = settings.views_of("test"), settings.views_of("train")
    assert test == list(range(fold, 40, 5))
    assert sorted(test + train) == list(range(40))


def test_the_same_settings_are_recognised(tmp_path: Path) -> None:
    PAPER.write(tmp_path)
    PAPER.check_same(tmp_path)
    assert json.loads((tmp_path / SETTINGS_FILE).read_text())["views"] == 40


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    PAPER.write(tmp_path)
    with pytest.raises(ValueError, match="has views 40, not 20"):
        replace(PAPER, views=20).check_same(tmp_path)


def test_a_record_that_is_missing_or_broken(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"settings\.json does not exist"):
        PAPER.check_same(tmp_path)
    for text in ("{", "[]"):
        (tmp_path / SETTINGS_FILE).write_text(text)
        with pytest.raises(ValueError, match="no JSON object of settings"):
            PAPER.check_same(tmp_path)


def test_sets_without_counterfactuals_keep_the_record_of_earlier_releases(tmp_path: Path) -> None:
    PAPER.write(tmp_path)
    assert "without_parts" not in json.loads((tmp_path / SETTINGS_FILE).read_text())
    with pytest.raises(ValueError, match="has without_parts False, not True"):
        replace(PAPER, without_parts=True).check_same(tmp_path)
    replace(PAPER, without_parts=True).write(tmp_path)
    replace(PAPER, without_parts=True).check_same(tmp_path)
    with pytest.raises(ValueError, match="has without_parts True, not False"):
        PAPER.check_same(tmp_path)
