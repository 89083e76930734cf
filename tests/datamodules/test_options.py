"""Options of datamodules: where each stands, also under earlier names, and which values are refused."""

from pathlib import Path
from typing import Any

import pytest

from datamodules import CUBDataModule, ImageNetDataModule, PlacesDataModule, ShardDataModule, TinyImageNetDataModule
from datamodules.options import FeatureCacheOptions, LoadingOptions, SamplingOptions
from vitrine.core.options import OptionError, grouped, option_path


@pytest.mark.parametrize("kind", [ShardDataModule, CUBDataModule, PlacesDataModule, TinyImageNetDataModule])
@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("batch_size", "loading.batch_size"),
        ("num_workers", "loading.num_workers"),
        ("shuffle_buffer", "loading.shuffle_buffer"),
        ("seed", "loading.seed"),
        ("augment", "loading.augment"),
        ("val_fraction", "loading.val_fraction"),
        ("cache_features", "features.cache"),
        ("feature_cache", "features.folder"),
        ("positives_per_class", "sampling.positives_per_class"),
        ("negatives_per_class", "sampling.negatives_per_class"),
        ("shards", "shards"),
        ("predict_root", "predict_root"),
        ("preprocessing", "preprocessing"),
    ],
)
def test_each_option_stands_in_one_place(kind: type[ShardDataModule], name: str, path: str) -> None:
    assert option_path(kind, name) == path


def test_options_by_name_come_to_where_they_stand(tmp_path: Path) -> None:
    options = {"root": None, "batch_size": 3, "feature_cache": tmp_path, "negatives_per_class": 5}
    data = CUBDataModule(tmp_path, **grouped(CUBDataModule, options))
    assert data.loading == LoadingOptions(batch_size=3)
    assert data.features == FeatureCacheOptions(folder=tmp_path)
    assert data.sampling == SamplingOptions(negatives_per_class=5)


@pytest.mark.parametrize(
    ("kind", "options", "name", "value"),
    [
        (LoadingOptions, {"shuffle_buffer": 0}, "shuffle_buffer", 0),
        (LoadingOptions, {"augment": "yes"}, "augment", "yes"),
        (LoadingOptions, {"val_fraction": float("nan")}, "val_fraction", "nan"),
        (SamplingOptions, {"negatives_per_class": 1.5}, "negatives_per_class", 1.5),
        (FeatureCacheOptions, {"folder": None}, "folder", None),
    ],
)
def test_values_that_make_no_sense_are_refused(kind: type, options: dict[str, Any], name: str, value: object) -> None:
    with pytest.raises(OptionError) as refused:
        kind(**options)
    assert refused.value.name == name
    assert str(refused.value.value) == str(value)


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        (ShardDataModule, {"loading": {"batch_size": 3}}, "loading is {'batch_size': 3}; give LoadingOptions"),
        (ImageNetDataModule, {"per_class": -1}, "per_class is -1"),
        (PlacesDataModule, {"per_class": 0}, "per_class is 0"),
        (PlacesDataModule, {"others": -2}, "others is -2"),
        (PlacesDataModule, {"scenes": "bedroom"}, "scenes is 'bedroom'"),
        (TinyImageNetDataModule, {"class_index": "mine"}, "class_index is 'mine'; give 'own' or 'imagenet'"),
    ],
)
def test_options_of_data_sets_are_checked(
    kind: type[ShardDataModule], options: dict[str, Any], told: str, tmp_path: Path
) -> None:
    with pytest.raises(OptionError) as refused:
        kind(tmp_path, **options)
    assert told in str(refused.value)
