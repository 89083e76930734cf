"""The written sets: their bytes, their splits, their records."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitrine.data.an8flower import ray_casting
from vitrine.data.an8flower.generate import _renderer, generate
from vitrine.data.an8flower.settings import FlowerSettings
from vitrine.data.an8flower.variants import VARIANTS, removable_parts
from vitrine.data.shards.schema import read_index
from vitrine.data.shards.verifier import verify

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


@pytest.fixture
def few_rays(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Rough light, which costs little: each removed part makes another scene."""
    monkeypatch.setattr(ray_casting, "_AMBIENT_RAYS", 3)
    _renderer.cache_clear()
    yield
    _renderer.cache_clear()


@pytest.mark.usefixtures("few_rays")
@pytest.mark.parametrize("variant", ["single-6c", "part-2c"])
def test_counterfactuals_lack_one_part_each(variant: str, small: Make, tmp_path: Path, read_split: Read) -> None:
    settings = small(variant, views=2, folds=2, crops=2, rotations=1, size=60, crop_size=56, without_parts=True)
    generate(settings, tmp_path / "with", workers=1)
    generate(replace(settings, without_parts=False), tmp_path / "plain", workers=1)
    names = [part.name.lower() for part in removable_parts(VARIANTS[variant])]
    index = read_index(tmp_path / "with" / "test")
    assert index.annotations == ["boxes", "counterfactuals", "mask", "objects"]
    assert index.object_names == names
    assert verify(tmp_path / "with" / "test", workers=1).problems == []
    # Only test images have counterfactuals, and all else is as it is without them.
    assert _bytes(tmp_path / "with" / "train") == _bytes(tmp_path / "plain" / "train")
    plain = read_split(tmp_path / "plain" / "test")
    for key, sample in read_split(tmp_path / "with" / "test").items():
        assert np.array_equal(sample.image, plain[key].image)
        assert np.array_equal(sample.mask, plain[key].mask)
        assert {n for n in sample.record if n != "counterfactuals"} == set(plain[key].record)
        _check_counterfactuals(sample, names)


def _check_counterfactuals(sample: Any, names: list[str]) -> None:
    assert sample.record["counterfactuals"] == len(sample.without) == len(names)
    hidden = 0
    for part, name in enumerate(names, 1):
        seen = sample.objects == part
        changed = (sample.without[part - 1] != sample.image).any(axis=2)
        if not seen.any():  # nor does an extra that the class lacks change anything
            hidden += name in {"ball", "thorn"} and not changed.any()
            continue
        assert changed[seen].mean() > 0.9, name
        # What is not behind the part changes at its edge and where its shadow was, and the most of the image not at all.
        assert changed[~seen].mean() < 0.35, name
    assert hidden == ("ball" in names)


@pytest.mark.usefixtures("few_rays")
def test_the_part_map_agrees_with_the_mask(small: Make, tmp_path: Path, read_split: Read) -> None:
    generate(small(views=2, folds=2, crops=1, without_parts=True), tmp_path, workers=1)
    names = read_index(tmp_path / "test").object_names or []
    for sample in read_split(tmp_path / "test").values():
        petals = sample.objects == names.index("petal") + 1
        assert (sample.mask[petals] == 255).all()  # the mask has all pixels with any sub-sample on the part
        assert petals.sum() > 0.7 * (sample.mask == 255).sum()
