"""Every option of every dataclass: numbers within their range, known words, and null only where it means something."""

import json
import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import pytest

from datamodules.options import FeatureCacheOptions, LoadingOptions, SamplingOptions
from lightning_modules.comparison import ComparedExplainer
from lightning_modules.inversion import InversionRuns
from vitrine.attribution.inversion import InversionSettings
from vitrine.attribution.inversion.settings import VARIANTS
from vitrine.backbones.networks import BackboneOptions
from vitrine.core.options import OptionError, Options
from vitrine.data.an8flower.settings import FlowerSettings
from vitrine.data.feature_store.pass_options import PassOptions
from vitrine.data.preprocessing import Preprocessing
from vitrine.data.shards.converters.imagenet import ImageNetOptions
from vitrine.data.shards.converters.places import PlacesSelection
from vitrine.data.streams.shard_cache import ShardCacheOptions
from vitrine.explain.options import ExplainOptions
from vitrine.explainers import (
    InversionOptions,
    MuLassoOptions,
    MuLassoTraining,
    SelectionOptions,
    SRAEOptions,
    SRAETraining,
    XFeatureOptions,
)
from vitrine.explainers.attribution import AttributionOptions
from vitrine.explainers.map_files import MapFileOptions
from vitrine.explainers.masking.explainer import MaskingOptions
from vitrine.explainers.masking.losses import MaskingLosses
from vitrine.metrics import (
    InfidelityOptions,
    MaxSensitivityOptions,
    MetricOptions,
    PixelFlippingOptions,
    RandomizationOptions,
    RoadOptions,
)
from vitrine.serve.options import ServeOptions
from vitrine.visualization.comparison import ComparisonOptions

COUNT = [0, -1, 1.5]
COUNT_OR_ZERO = [-1, 0.5]
POSITIVE = [0, 0.0, -1e-9, -1]
NOT_NEGATIVE = [-1e-9, -1]
SEED = [0.5, "0"]

OUTSIDE: dict[type[Options], dict[str, list[Any]]] = {
    BackboneOptions: {"num_classes": COUNT, "output": COUNT_OR_ZERO},
    XFeatureOptions: {
        "explained_classes": [[0, -1], [0.5], 0, "01"],
        "num_features": COUNT,
        "image_size": COUNT,
    },
    SRAEOptions: {
        "explained_classes": [[-1]],
        "num_features": COUNT,
        "image_size": COUNT,
        "hidden": [[8, 0], [-1], [1.5], 8, "8"],
    },
    SRAETraining: {
        "beta": NOT_NEGATIVE,
        "eta": NOT_NEGATIVE,
        "q": POSITIVE,
        "encoder_decay": NOT_NEGATIVE,
        "decoder_decay": NOT_NEGATIVE,
        "predictor_decay": NOT_NEGATIVE,
        "positive_weight": [*POSITIVE, "all", "5"],
        "pretraining_epochs": COUNT_OR_ZERO,
        "classes_at_once": COUNT,
        "seed": COUNT_OR_ZERO,
    },
    SelectionOptions: {
        "alpha": NOT_NEGATIVE,
        "positive_weight": [*POSITIVE, "all"],
        "seed": SEED,
        "num_shown": [*COUNT, "most"],
    },
    AttributionOptions: {"sigma": NOT_NEGATIVE, "image_size": COUNT},
    ComparisonOptions: {"resamples": COUNT, "seed": COUNT_OR_ZERO, "confidence": [0, 0.0, 1.0, -0.5]},
    ComparedExplainer: {"sigma": NOT_NEGATIVE},
    MapFileOptions: {},
    MaskingOptions: {"width": COUNT, "image_size": COUNT},
    MaskingLosses: {
        "total_variation": NOT_NEGATIVE,
        "area": NOT_NEGATIVE,
        "deletion": NOT_NEGATIVE,
        "deletion_power": POSITIVE,
        "fake_share": [-0.1, 1.1],
    },
    MuLassoOptions: {
        "mu": POSITIVE,
        "num_heatmaps": COUNT,
        "sigma": NOT_NEGATIVE,
        "activation_threshold": NOT_NEGATIVE,
        "image_size": COUNT,
    },
    MuLassoTraining: {"tol": POSITIVE, "working_set": COUNT_OR_ZERO},
    InversionOptions: {"predictor": COUNT_OR_ZERO, "image_size": COUNT, "seed": SEED},
    InversionSettings: {
        "inversion_steps": COUNT_OR_ZERO,
        "class_steps": COUNT_OR_ZERO,
        "learning_rate": POSITIVE,
        "halving": COUNT,
        "inversion_penalty": NOT_NEGATIVE,
        "class_penalty": NOT_NEGATIVE,
        "suppression": NOT_NEGATIVE,
        "gate": NOT_NEGATIVE,
        "smoothing": NOT_NEGATIVE,
        "start": POSITIVE,
        "tolerance": NOT_NEGATIVE,
    },
    InversionRuns: {"inversion_share": NOT_NEGATIVE, "internal_batch_size": COUNT},
    MetricOptions: {"pointing_tolerance": NOT_NEGATIVE, "localization_alpha": NOT_NEGATIVE},
    LoadingOptions: {
        "batch_size": COUNT,
        "num_workers": COUNT_OR_ZERO,
        "shuffle_buffer": COUNT,
        "seed": SEED,
        "val_fraction": [-0.1, 0.6],
        "val_folds": [1, 0, 2.5],
        "val_fold": [*COUNT_OR_ZERO, 1],
    },
    ShardCacheOptions: {"size_gb": POSITIVE, "tries": COUNT},
    FeatureCacheOptions: {},
    PassOptions: {},
    SamplingOptions: {"positives_per_class": COUNT, "negatives_per_class": COUNT},
    Preprocessing: {
        "size": COUNT,
        "resize": COUNT,
        "mean": [0.5, [0.5, 0.5], [math.nan, 0.5, 0.5]],
        "std": [0.5, [0.5, 0.5], [0.0, 0.5, 0.5], [math.inf, 0.5, 0.5]],
    },
    InfidelityOptions: {"num_samples": COUNT, "size": COUNT, "sigma": POSITIVE, "seed": SEED},
    MaxSensitivityOptions: {"num_samples": COUNT, "radius": POSITIVE, "seed": SEED},
    RoadOptions: {"shares": [[], [1], [-0.1], [0.5, 0.2], 1.5], "noise": NOT_NEGATIVE, "seed": SEED},
    PixelFlippingOptions: {"steps": COUNT, "region": COUNT, "share": [*POSITIVE, 1.1], "seed": SEED},
    RandomizationOptions: {"stages": COUNT, "seed": SEED},
    ImageNetOptions: {"per_class": COUNT, "seed": SEED},
    PlacesSelection: {"per_class": COUNT_OR_ZERO, "others": COUNT_OR_ZERO, "skip": COUNT_OR_ZERO, "seed": SEED},
    ExplainOptions: {
        "num_classes": COUNT,
        "size": COUNT,
        "batch_size": COUNT,
        "epochs": COUNT,
        "min_pictures": COUNT,
        "seed": COUNT_OR_ZERO,
    },
    ServeOptions: {
        "num_classes": COUNT,
        "size": COUNT,
        "port": [*COUNT, 65536],
        "max_megabytes": COUNT,
        "max_megapixels": COUNT,
        "seed": COUNT_OR_ZERO,
    },
    FlowerSettings: {
        "views": [1, 3601, 2.5],
        "size": [7, 4097, 8.5],
        "crops": COUNT,
        "rotations": COUNT,
        "crop_size": [7, 8.5],
        "folds": [1, 2.5],
        "test_fold": COUNT_OR_ZERO,
        "supersampling": COUNT,
        "seed": COUNT_OR_ZERO,
    },
}
"""By dataclass and number, values that it must refuse, beside NaN and infinity."""
NULL: dict[type[Options], set[str]] = {
    BackboneOptions: {"weights", "num_classes", "output"},
    XFeatureOptions: {"explained_classes", "lrp"},
    SRAEOptions: {"explained_classes", "lrp"},
    SRAETraining: {"classes_at_once", "seed"},
    SelectionOptions: {"num_shown"},
    AttributionOptions: {"image_size"},
    ComparisonOptions: {"sort"},
    ComparedExplainer: {"method", "folder", "maps"},
    LoadingOptions: {"val_folds"},
    InversionOptions: {"inversion_layer"},
    MetricOptions: {"localization_alpha"},
    SamplingOptions: {"positives_per_class", "negatives_per_class"},
    Preprocessing: {"resize"},
    ImageNetOptions: {"annotations", "ground_truth", "blacklist", "per_class", "classes"},
    PlacesSelection: {"scenes", "per_class"},
    ExplainOptions: {"weights", "num_classes", "classes", "size"},
    ServeOptions: {"weights", "num_classes", "classes", "size", "port"},
}
"""What may be null."""
NEVER = [math.nan, math.inf, -math.inf]


class Field(NamedTuple):
    """An option of a dataclass."""

    declared: type[Options]
    name: str
    annotation: Any

    def __str__(self) -> str:
        return f"{self.declared.__name__}.{self.name}"

    def given(self, value: object) -> Options:
        return self.declared(**{**needed(self.declared), self.name: value})


def needed(declared: type[Options]) -> dict[str, Any]:
    """What has no default."""
    if issubclass(declared, FlowerSettings):
        return {"variant": "single-6c"}
    if issubclass(declared, ExplainOptions):
        return {"images": Path("pictures"), "model": "resnet18"}
    if issubclass(declared, ServeOptions):
        return {"model": "resnet18"}
    return {"layer": "features"} if issubclass(declared, XFeatureOptions) else {}


def subclasses(declared: type[Options]) -> Iterator[type[Options]]:
    for one in declared.__subclasses__():
        if one.__module__.startswith(("vitrine.", "lightning_modules.", "datamodules.", "callbacks.")):
            yield one
        yield from subclasses(one)


ALL = list(dict.fromkeys(subclasses(Options)))
FIELDS = [
    Field(declared, field.name, typing.get_type_hints(declared, include_extras=True)[field.name])
    for declared in ALL
    for field in fields(declared)
]


def parts(annotation: Any) -> Iterator[Any]:
    """The types that an annotation is made of, without sequences, choices and unions themselves."""
    if get_origin(annotation) is Annotated:
        yield from parts(get_args(annotation)[0])
    elif get_origin(annotation) in {Union, types.UnionType, Sequence, list, tuple}:
        for one in get_args(annotation):
            yield from parts(one)
    else:
        yield annotation


def is_number(field: Field) -> bool:
    return bool({int, float} & {one for one in parts(field.annotation) if isinstance(one, type)})


def is_sequence(field: Field) -> bool:
    options = get_args(field.annotation) if get_origin(field.annotation) in {Union, types.UnionType} else ()
    return Sequence in {get_origin(one) for one in (field.annotation, *options)}


NUMBERS = [field for field in FIELDS if is_number(field)]
WORDS = [field for field in FIELDS if any(get_origin(one) is Literal for one in parts(field.annotation))]
SWITCHES = [field for field in FIELDS if field.annotation is bool]


def refused(field: Field, value: object) -> OptionError:
    with pytest.raises(OptionError) as caught:
        field.given(value)
    message = str(caught.value)
    assert message.startswith(field.name)
    assert " is " in message
    assert "; give " in message
    assert "\n" not in message
    return caught.value


def test_all_of_them_are_here() -> None:
    """A new dataclass of options needs its rows above."""
    assert set(ALL) == set(OUTSIDE)
    assert {(field.declared, field.name) for field in NUMBERS} == {
        (declared, name) for declared, rows in OUTSIDE.items() for name in rows
    }


@pytest.mark.parametrize("field", NUMBERS, ids=str)
def test_a_number_out_of_range_is_refused(field: Field) -> None:
    for value in [*OUTSIDE[field.declared][field.name], True, *NEVER]:
        if is_sequence(field) and isinstance(value, float):
            told = refused(field, [value])
            assert told.name in {field.name, f"{field.name}[0]"}
        else:
            told = refused(field, value)
        assert str(value) in str(told) or isinstance(value, list)


@pytest.mark.parametrize("field", WORDS, ids=str)
def test_an_unknown_word_is_refused(field: Field) -> None:
    choices = [word for one in parts(field.annotation) if get_origin(one) is Literal for word in get_args(one)]
    for value in ("no such word", "", choices[0].swapcase(), 7.5 if not is_number(field) else "1.0"):
        told = str(refused(field, value))
        assert f"{field.name} is {value!r}; " in told
        assert all(repr(word) in told for word in choices)
    for word in choices if field.name != "mode" else choices[:1]:  # others have another number of means
        assert getattr(field.given(word), field.name) == word


@pytest.mark.parametrize("field", SWITCHES, ids=str)
def test_a_switch_is_true_or_false(field: Field) -> None:
    for value in (0, 1, "true", "no"):
        assert "give true or false" in str(refused(field, value))


@pytest.mark.parametrize("field", FIELDS, ids=str)
def test_null_is_refused_where_it_means_nothing(field: Field) -> None:
    if field.name in NULL.get(field.declared, ()):
        assert getattr(field.given(None), field.name) is None
    else:
        assert f"{field.name} is null; give " in str(refused(field, None))


@pytest.mark.parametrize("declared", ALL, ids=lambda one: one.__name__)
def test_options_are_frozen_and_go_through_json(declared: type[Options]) -> None:
    made = declared(**needed(declared))
    for field in fields(made):
        with pytest.raises(FrozenInstanceError):
            setattr(made, field.name, getattr(made, field.name))
    entries = json.loads(json.dumps(made.to_dict()))
    assert declared.from_dict(entries).to_dict() == made.to_dict()
    with pytest.raises(ValueError, match=f"{declared.__name__} has no option 'nonsense'"):
        declared.from_dict({**entries, "nonsense": 1})


# The settings of an inversion, as they are given: what differs from a variant


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("field", [field for field in NUMBERS if field.declared is InversionSettings], ids=str)
def test_an_override_out_of_range_is_refused(field: Field, variant: Any) -> None:
    for value in [*OUTSIDE[InversionSettings][field.name], *NEVER]:
        with pytest.raises(OptionError, match=rf"{field.name} is .*; give "):
            InversionOptions(variant, {field.name: value})
    assert InversionOptions(variant, {field.name: None}).settings == VARIANTS[variant]


@pytest.mark.parametrize("overrides", [None, 3, ["class_steps"], "class_steps"], ids=repr)
def test_overrides_are_keys_and_values(overrides: Any) -> None:
    assert not isinstance(overrides, Mapping)
    with pytest.raises(OptionError, match=r"overrides is .*; give keys with values"):
        InversionOptions(overrides=overrides)


def test_an_unknown_override_is_refused() -> None:
    with pytest.raises(ValueError, match="no option 'class_step'; did you mean class_steps"):
        InversionOptions(overrides={"class_step": 3})
