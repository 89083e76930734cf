"""The written sets: their bytes, their splits, their records."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitrine.data.an8flower.generate import generate
from vitrine.data.an8flower.settings import FlowerSettings
from vitrine.data.an8flower.variants import VARIANTS
from vitrine.data.shards.schema import read_index

Make = Callable[..., FlowerSettings]
Read = Callable[[Path], dict[str, Any]]


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_same_settings_give_the_same_bytes_on_any_number_of_workers(small: Make, tmp_path: Path) -> None:
    for name, workers in (("a", 1), ("b", 1), ("c", 2)):
        generate(small("part-2c", rotations=1), tmp_path / name, workers=workers)
    assert _bytes(tmp_path / "a") == _bytes(tmp_path / "b") == _bytes(tmp_path / "c")
    assert sorted(_bytes(tmp_path / "a")) == [
        "settings.json",
        "test/index.json",
        "test/shard-000000.tar",
        "train/index.json",
        "train/shard-000000.tar",
    ]


def test_another_seed_gives_another_plant(small: Make, tmp_path: Path) -> None:
    for seed in (0, 1):
        generate(small(views=2, folds=2, crops=1, rotations=1, seed=seed), tmp_path / str(seed), workers=1)
    pixels = [_bytes(tmp_path / str(seed))["test/shard-000000.tar"] for seed in (0, 1)]
    assert pixels[0] != pixels[1]


def test_a_set_is_whole_and_its_records_agree_with_its_pixels(small: Make, tmp_path: Path, read_split: Read) -> None:
    settings = small(views=5, crops=5, rotations=1)
    generate(settings, tmp_path, workers=1)
    index = read_index(tmp_path / "train")
    assert index.classes == [flower.name for flower in VARIANTS["single-6c"]]
    assert (index.annotations, index.multi_label, index.dataset) == (["boxes", "mask"], False, "an8flower-single-6c")
    assert index.class_counts == [4 * 5 * 1] * 6
    samples = read_split(tmp_path / "train")
    assert len(samples) == index.count == 120
    for key, sample in samples.items():
        rows, columns = np.nonzero(sample.mask)
        assert sample.record["boxes"] == [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]
        assert set(np.unique(sample.mask)) == {0, 255}
        assert sample.image.shape == (*sample.mask.shape, 3) == (32, 32, 3)
        assert key.startswith(index.classes[sample.record["label"]])


def test_classes_differ_inside_the_stored_masks_alone(small: Make, tmp_path: Path, read_split: Read) -> None:
    generate(small(), tmp_path, workers=1)
    samples = read_split(tmp_path / "test")
    for key, sample in samples.items():
        other = samples[key.replace(key.split("-")[0], "blue", 1)]
        assert np.array_equal(sample.mask, other.mask)
        assert np.array_equal(sample.image[sample.mask == 0], other.image[sample.mask == 0])


@pytest.mark.parametrize("fold", [0, 2])
def test_splits_share_no_view(small: Make, tmp_path: Path, read_split: Read, fold: int) -> None:
    generate(small(views=6, folds=3, test_fold=fold, crops=1, rotations=2), tmp_path, workers=1)
    views = {s: {x.record["view"] for x in read_split(tmp_path / s).values()} for s in ("train", "test")}
    assert views["test"] == {fold, fold + 3}
    assert views["train"] == set(range(6)) - views["test"]


def test_each_view_is_tested_in_one_fold() -> None:
    folds = [FlowerSettings("single-6c", test_fold=k).views_of("test") for k in range(5)]
    assert sorted(view for fold in folds for view in fold) == list(range(40))


def test_a_crop_without_the_part_has_an_empty_list_of_boxes(small: Make, tmp_path: Path, read_split: Read) -> None:
    # A window of 8 pixels in the middle of the frame shows no thorn from every side.
    settings = small("part-2c", views=10, crops=2, rotations=1, crop_size=8)
    generate(settings, tmp_path, workers=1)
    samples = read_split(tmp_path / "train").values()
    empty = [sample for sample in samples if not sample.mask.any()]
    assert empty
    assert all(sample.record["boxes"] == [] for sample in empty)


def test_an_existing_split_is_an_error_and_stays_as_it_is(small: Make, tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="test"):
        generate(small(), tmp_path, workers=1)
    assert list(_bytes(tmp_path)) == ["test/mine.txt"]


def test_if_missing_leaves_a_whole_set_alone_and_makes_up_for_a_missing_split(small: Make, tmp_path: Path) -> None:
    settings = small(crops=1)
    assert generate(settings, tmp_path, workers=1, if_missing=True) == [tmp_path / "train", tmp_path / "test"]
    before = _bytes(tmp_path)
    assert generate(settings, tmp_path, workers=1, if_missing=True) == []
    for file in (tmp_path / "test").iterdir():
        file.unlink()
    assert generate(settings, tmp_path, workers=1, if_missing=True) == [tmp_path / "test"]
    assert _bytes(tmp_path) == before


def test_if_missing_refuses_a_set_with_other_or_unknown_settings(small: Make, tmp_path: Path) -> None:
    generate(small(views=2, folds=2, crops=1, rotations=1), tmp_path, workers=1)
    with pytest.raises(ValueError, match=r"settings\.json says that the set there has views 2, not 3"):
        generate(small(views=3, folds=2, crops=1, rotations=1), tmp_path, workers=1, if_missing=True)
    (tmp_path / "settings.json").write_text("[]")
    with pytest.raises(ValueError, match=r"settings\.json is no JSON object"):
        generate(small(), tmp_path, workers=1, if_missing=True)
    (tmp_path / "settings.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"settings\.json does not exist"):
        generate(small(), tmp_path, workers=1, if_missing=True)
