"""Options that check themselves: ranges, choices, null, sequences, options within options, and what is told of them."""

import inspect
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vitrine.core.options import (
    Count,
    CountOrZero,
    NonNegative,
    OptionError,
    Options,
    Positive,
    Range,
    Share,
    check_value,
    checked,
    grouped,
    option_path,
)

Rule = Literal["clamp", "raw", 2]
Even = Annotated[float, Range(above=-1, below=1)]
Opacity = Annotated[float, Range(above=0, at_most=1)]
Unbounded = Annotated[float, Range(at_least=0, finite=False)]
OneToThree = Annotated[int, Range(at_least=1, at_most=3)]


def refusal(value: object, annotation: Any, name: str = "option") -> str:
    with pytest.raises(OptionError) as caught:
        check_value(name, value, annotation)
    return str(caught.value)


# Ranges


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Positive, 1e-300),
        (Positive, 3),
        (NonNegative, 0),
        (NonNegative, -0.0),
        (Share, 0),
        (Share, 1),
        (Count, 1),
        (Count, np.int64(7)),
        (CountOrZero, 0),
        (Even, 0.999),
        (Opacity, 1.0),
        (Opacity, np.float32(0.5)),
        (Unbounded, math.inf),
        (OneToThree, 3),
        (Annotated[float, "metres"], -1.0),
        (Annotated[float, Range()], -1e308),
    ],
)
def test_numbers_within(annotation: Any, value: float) -> None:
    check_value("option", value, annotation)


@pytest.mark.parametrize(
    ("annotation", "value", "wanted"),
    [
        (Positive, 0, "a number above 0"),
        (Positive, -1, "a number above 0"),
        (NonNegative, -1e-9, "0 or more"),
        (Share, 1.01, "a number from 0 to 1"),
        (Share, -0.01, "a number from 0 to 1"),
        (Count, 0, "1 or more"),
        (CountOrZero, -1, "0 or more"),
        (Count | None, 0, "1 or more or null"),
        (Count | None, 0.5, "a whole number, 1 or more or null"),
        (Even, -1.0, "a number above -1 and below 1"),
        (Even, 1.0, "a number above -1 and below 1"),
        (Opacity, 0.0, "a number above 0 and 1 or less"),
        (OneToThree, 4, "a whole number from 1 to 3"),
        (Annotated[float, Range(below=2)], 2, "a number below 2"),
        (Annotated[float, Range(at_most=2)], 2.5, "2 or less"),
        (Annotated[int, Range(above=1)], 1, "a whole number above 1"),
    ],
)
def test_numbers_out_of_range(annotation: Any, value: float, wanted: str) -> None:
    assert refusal(value, annotation) == f"option is {value}; give {wanted}."


@pytest.mark.parametrize("annotation", [float, Positive, NonNegative, Share, Unbounded, Annotated[float, Range()]])
@pytest.mark.parametrize("value", [math.nan, np.float64("nan")])
def test_nan_is_never_a_number(annotation: Any, value: float) -> None:
    assert refusal(value, annotation).startswith("option is nan; give ")


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinity_is_allowed_where_a_range_says_so(value: float) -> None:
    assert refusal(value, Annotated[float, Range()]).startswith(f"option is {value}; give ")
    check_value("option", value, Annotated[float, Range(finite=False)])
    check_value("option", value, float)


@pytest.mark.parametrize(
    ("annotation", "value", "wanted"),
    [
        (int, 1.0, "a whole number"),
        (int, True, "a whole number"),
        (Count, 1.5, "a whole number, 1 or more"),
        (Count, False, "a whole number, 1 or more"),
        (float, True, "a number"),
        (Positive, "3", "a number above 0"),
        (Positive, None, "a number above 0"),
        (Positive, torch.ones(()), "a number above 0"),
        (bool, 1, "true or false"),
        (str, 3, "a text"),
        (str, None, "a text"),
        (Path, None, "a path"),
    ],
)
def test_values_of_another_type(annotation: Any, value: object, wanted: str) -> None:
    assert refusal(value, annotation).endswith(f"; give {wanted}.")


@given(st.floats(allow_nan=False), st.floats(-10, 10), st.floats(-10, 10))
def test_a_range_holds_what_its_bounds_say(value: float, low: float, high: float) -> None:
    assert (value in Range(at_least=low, at_most=high, finite=False)) == (low <= value <= high)
    assert (value in Range(above=low, below=high, finite=False)) == (low < value < high)


# Choices, null, sequences


def test_choices() -> None:
    for value in ("clamp", "raw", 2):
        check_value("rule", value, Rule)
    assert refusal("zplus", Rule, "rule") == "rule is 'zplus'; give 'clamp', 'raw' or 2."
    assert refusal(None, Rule, "rule") == "rule is null; give 'clamp', 'raw' or 2."
    assert "rule is 2.0" in refusal(2.0, Rule, "rule")  # of another type, as 1 is for True
    assert "rule is True" in refusal(value=True, annotation=Literal[1], name="rule")


def test_null_is_allowed_where_the_annotation_says_so() -> None:
    check_value("layer", None, str | None)
    check_value("layer", "features", str | None)
    check_value("layer", None, None)
    assert refusal(-1, Positive | None) == "option is -1; give a number above 0 or null."
    assert refusal(3, None) == "option is 3; give null."


def test_a_union_allows_what_one_of_its_members_does() -> None:
    check_value("layers", "all", Literal["all"] | Sequence[str])
    check_value("layers", ["features.0"], Literal["all"] | Sequence[str])
    assert refusal("some", Literal["all"] | Sequence[str], "layers") == (
        "layers is 'some'; give 'all' or a list, each entry a text."
    )


@pytest.mark.parametrize("annotation", [Sequence[Count], list[Count], tuple[Count, ...]])
def test_the_entry_of_a_sequence_is_named(annotation: Any) -> None:
    valid: tuple[Sequence[int], ...] = ([], [1, 2], (3,))
    for value in valid:
        check_value("hidden", value, annotation)
    assert refusal([8, 0], annotation, "hidden") == "hidden[1] is 0; give 1 or more."
    assert "hidden[0] is null" in refusal([None], annotation, "hidden")
    invalid: tuple[object, ...] = ("8", 8, None, {8})
    for wrong in invalid:
        assert refusal(wrong, annotation, "hidden").endswith("; give a list, each entry a whole number, 1 or more.")


def test_a_tuple_of_fixed_length() -> None:
    check_value("betas", (0.9, 0.99), tuple[Share, Share])
    check_value("betas", [0.9, 0.99], tuple[Share, Share])  # as JSON and YAML have it
    assert refusal((0.9,), tuple[Share, Share], "betas") == "betas is (0.9,); give a list of 2 entries."
    assert "betas[1] is 2" in refusal((0.9, 2), tuple[Share, Share], "betas")
    assert "pairs[1][0] is -1" in refusal([[1, 2], [-1, 2]], Sequence[tuple[Count, Count]], "pairs")


@pytest.mark.parametrize("annotation", [list, tuple, Sequence])
def test_sequences_of_anything(annotation: Any) -> None:
    check_value("classes", ["ant", 3], annotation)
    assert refusal("ant", annotation, "classes") == "classes is 'ant'; give a list."


@pytest.mark.parametrize("annotation", [Any, torch.Tensor, torch.nn.Module, Path, object])
def test_types_without_ranges_are_not_looked_at(annotation: Any) -> None:
    check_value("option", "anything", annotation)


@pytest.mark.parametrize("annotation", [dict[str, float], Mapping[str, Any]])
@pytest.mark.parametrize("value", [None, "width", ["width"], 3])
def test_keys_with_values(annotation: Any, value: object) -> None:
    check_value("arguments", {"width": 3}, annotation)
    assert refusal(value, annotation, "arguments").endswith("; give keys with values.")


# Dataclasses


@dataclass(frozen=True)
class StepOptions(Options):
    lr: Positive = 0.1
    betas: tuple[Share, Share] = (0.9, 0.99)


@dataclass(frozen=True)
class FitOptions(Options):
    RENAMED: ClassVar[dict[str, str]] = {"betta": "beta"}

    beta: NonNegative = 1.0
    rule: Literal["clamp", "raw"] = "clamp"
    hidden: tuple[Count, ...] = (8, 4)
    folder: Path | None = None
    weights: str | Path = "DEFAULT"
    step: StepOptions = StepOptions()
    later: StepOptions | None = None


def test_a_dataclass_checks_its_fields_when_it_is_made() -> None:
    assert FitOptions(beta=0).beta == 0
    for options, told in (
        ({"beta": -1}, "beta is -1; give 0 or more."),
        ({"rule": "zplus"}, "rule is 'zplus'; give 'clamp' or 'raw'."),
        ({"hidden": (8, 0)}, "hidden[1] is 0; give 1 or more."),
        ({"step": {"lr": 1}}, "step is {'lr': 1}; give StepOptions(…)."),
        ({"step": None}, "step is null; give StepOptions(…)."),
        ({"later": 3}, "later is 3; give StepOptions or null."),
    ):
        with pytest.raises(OptionError) as caught:
            FitOptions(**options)
        assert str(caught.value) == told


def test_a_replaced_field_is_checked() -> None:
    with pytest.raises(OptionError, match="beta is -2"):
        replace(FitOptions(), beta=-2)


def test_an_error_holds_name_value_and_what_is_wanted() -> None:
    with pytest.raises(ValueError, match="lr is 0") as caught:
        StepOptions(lr=0)
    error = caught.value
    assert isinstance(error, OptionError)
    assert (error.name, error.value, error.wanted) == ("lr", 0, "a number above 0")


@pytest.mark.parametrize(
    "options",
    [
        FitOptions(),
        FitOptions(2.5, "raw", (3,), Path("a/b"), "a.pth", StepOptions(0.5, (0.1, 0.2)), StepOptions(3)),
    ],
)
def test_what_is_written_as_json_is_read(options: FitOptions) -> None:
    assert FitOptions.from_dict(json.loads(json.dumps(options.to_dict()))) == options


def test_reading_leaves_defaults_and_takes_earlier_names() -> None:
    assert FitOptions.from_dict({}) == FitOptions()
    assert FitOptions.from_dict({"betta": 3, "step": {"lr": 2}}) == FitOptions(beta=3, step=StepOptions(2))


@pytest.mark.parametrize(
    ("entries", "parts"),
    [
        ({"gamma": 1}, ["FitOptions", "'gamma'"]),
        ({"rul": "raw"}, ["FitOptions", "'rul'", "did you mean rule?"]),
        ({"beta": 1, "betta": 2}, ["FitOptions", "'beta' twice"]),
        ({"step": {"lrr": 1}}, ["StepOptions", "'lrr'", "did you mean lr?"]),
        ({"beta": "high"}, ["beta is 'high'", "0 or more"]),
        ({"step": {"lr": -1}}, ["step.lr is -1", "a number above 0"]),
        ({"later": {"betas": [0.5, 2]}}, ["later.betas[1] is 2", "a number from 0 to 1"]),
    ],
)
def test_what_cannot_be_read(entries: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(ValueError, match=r"Options|is") as caught:
        FitOptions.from_dict(entries)
    for part in parts:
        assert part in str(caught.value)


# Functions and constructors


@checked
def blur(images: torch.Tensor, sigma: Positive, *sizes: Count, fill: str | None = None, **more: Count) -> str:
    """Blurs."""
    return f"{sigma} {sizes} {fill} {more}"


class Blur:
    @checked
    def __init__(self, sigma: Positive = -1, fill: Literal["mean", "black"] = "mean") -> None:
        self.sigma, self.fill = sigma, fill


def test_a_checked_function_is_checked_when_it_is_called() -> None:
    images = torch.zeros(1)
    assert blur(images, 2) == "2 () None {}"
    assert blur(images, sigma=2, fill="x") == "2 () x {}"
    for call in (lambda: blur(images, 0), lambda: blur(images, sigma=0)):
        with pytest.raises(OptionError, match=r"^sigma is 0; give a number above 0\.$"):
            call()
    with pytest.raises(OptionError, match="fill is 3; give a text or null"):
        blur(images, 1, fill=3)  # type: ignore[arg-type]


def test_variable_arguments_are_handed_on_unchecked() -> None:
    assert blur(torch.zeros(1), 1, 0, -2, more=0) == "1 (0, -2) None {'more': 0}"


def test_a_checked_constructor() -> None:
    assert Blur(3).sigma == 3
    with pytest.raises(OptionError, match="fill is 'grey'; give 'mean' or 'black'"):
        Blur(1, "grey")  # type: ignore[arg-type]
    assert Blur().sigma == -1  # a default is the author's own affair


def test_checking_keeps_name_signature_and_the_wrong_number_of_arguments() -> None:
    assert blur.__name__ == "blur"
    assert blur.__doc__ == "Blurs."
    assert list(inspect.signature(blur).parameters) == ["images", "sigma", "sizes", "fill", "more"]
    with pytest.raises(TypeError, match="sigma"):
        blur(torch.zeros(1))  # type: ignore[call-arg]


# Options by their names alone


class Fitted:
    def __init__(self, backbone: str, fit: FitOptions | None = None, step: StepOptions = StepOptions()) -> None:
        self.backbone, self.fit, self.step = backbone, fit, step


class FittedOnImages(Fitted):
    """Without a constructor of its own."""


def test_an_option_is_found_in_the_dataclass_that_declares_it() -> None:
    for declared in (Fitted, FittedOnImages):
        assert option_path(declared, "lr") == "step.lr"
        assert option_path(declared, "backbone") == "backbone"
        assert option_path(declared, "unknown") == "unknown"


def test_options_are_grouped_into_dataclasses() -> None:
    assert grouped(Fitted, {"backbone": "vgg16", "lr": 2.0}) == {"backbone": "vgg16", "step": StepOptions(2.0)}
    with pytest.raises(OptionError, match="lr is -1"):
        grouped(Fitted, {"lr": -1})
