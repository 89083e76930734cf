"""Bad values of every number option of methods and explainers, read off their annotations."""

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import partial
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
from torch import nn

from tests.fuzz.bad_calls import fault_of
from vitrine.attribution.registry import all_methods
from vitrine.core.options import Options, Range
from vitrine.explainers import InversionOptions, MuLassoOptions, SelectionOptions, SRAEOptions, SRAETraining

NETWORK = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
SENSELESS = ["many", None, math.nan, [1, "a"], {"a": 1}, 1j, object()]
"""What no number option takes, whatever its range."""


def ranges_in(hint: Any) -> Iterator[Range]:
    """The ranges in an annotation, also within unions."""
    if get_origin(hint) is Annotated:
        yield from (part for part in hint.__metadata__ if isinstance(part, Range))
    for part in get_args(hint):
        yield from ranges_in(part)


def takes(hint: Any, value: Any) -> bool:
    """Whether an annotation has a place for a value: None, a list or a text beside numbers."""
    text = str(hint)
    return (
        (value is None and ("None" in text or "Optional" in text))
        or (isinstance(value, list) and ("Sequence" in text or "list" in text))
        or (isinstance(value, str) and ("str" in text or "Literal" in text))
        or (isinstance(value, dict) and ("Mapping" in text or "dict" in text))
    )


def beyond(allowed: Range) -> list[float]:
    """Numbers just outside a range."""
    candidates = [-1, 0, 1.5, 2, -0.1, 1e9, math.inf, -math.inf]
    return [value for value in candidates if value not in allowed]


def bad_values(hint: Any) -> list[Any]:
    allowed = list(ranges_in(hint))
    if not allowed or any("Mapping" in str(part) for part in (hint,)):
        return []
    outside = [value for value in beyond(allowed[0]) if all(value not in one for one in allowed)]
    return [value for value in SENSELESS if not takes(hint, value)] + outside


def calls() -> dict[str, Callable[[], Any]]:
    found: dict[str, Callable[[], Any]] = {}
    for name, kind in all_methods().items():
        hints = get_type_hints(kind.__init__, include_extras=True)
        for option in inspect.signature(kind.__init__).parameters:
            for value in bad_values(hints.get(option)):
                found[f"{name}({option}={value!r})"] = partial(kind, NETWORK, "0", **{option: value})
    for options in (SRAEOptions, SRAETraining, MuLassoOptions, SelectionOptions, InversionOptions):
        found |= calls_of_options(options)
    return found


def calls_of_options(kind: type[Options]) -> dict[str, Callable[[], Any]]:
    hints = get_type_hints(kind, include_extras=True)
    required = {"layer": "0"} if "layer" in hints else {}
    return {
        f"{kind.__name__}({field.name}={value!r})": partial(kind, **{**required, field.name: value})
        for field in fields(kind)
        for value in bad_values(hints[field.name])
    }


def test_every_number_option_refuses_what_makes_no_sense() -> None:
    every = calls()
    found = {name: fault_of(call) for name, call in every.items()}
    assert {name: fault for name, fault in found.items() if fault is not None} == {}
    assert len(every) > 300


@pytest.mark.parametrize("name", sorted(all_methods()))
def test_unknown_options_are_refused(name: str) -> None:
    kind: Any = all_methods()[name]
    assert fault_of(lambda: kind(NETWORK, "0", no_such_option=1)) is None
    assert name == "Center" or fault_of(lambda: kind(NETWORK, "no.such.layer")) is None
    assert fault_of(lambda: kind("resnet18", "0")) is None
