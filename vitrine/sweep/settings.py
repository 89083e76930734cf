"""Settings of a sweep: all combinations of a grid, or random ones from a seed, and the name of each one's folder."""

import hashlib
import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from vitrine.sweep.sweep_file import SweepFile

Setting = Mapping[str, Any]
"""Values by option."""
LONGEST = 100
"""Letters of a folder's name."""
Draw = Callable[[Mapping[str, Any], np.random.Generator], Any]


def _categorical(of: Mapping[str, Any], generator: np.random.Generator) -> Any:
    return of["values"][int(generator.choice(len(of["values"]), p=of.get("probabilities")))]


def _uniform(of: Mapping[str, Any], generator: np.random.Generator) -> float:
    return float(generator.uniform(of["min"], of["max"]))


DRAWS: Mapping[str, Draw] = {
    "constant": lambda of, _: of["value"],
    "categorical": _categorical,
    "categorical_w_probabilities": _categorical,
    "int_uniform": lambda of, generator: int(generator.integers(of["min"], of["max"], endpoint=True)),
    "uniform": _uniform,
    "q_uniform": lambda of, generator: round(_uniform(of, generator) / of.get("q", 1)) * of.get("q", 1),
    "log_uniform_values": lambda of, generator: float(
        math.exp(generator.uniform(math.log(of["min"]), math.log(of["max"])))
    ),
    "normal": lambda of, generator: float(generator.normal(of.get("mu", 0.0), of.get("sigma", 1.0))),
}
"""How a value is drawn, by W&B's name of the distribution."""


def settings_of(sweep: SweepFile, method: str | None = None, count: int | None = None, seed: int = 0) -> list[Setting]:
    """The settings of a sweep in their order; of random ones the first are the same for any count.

    Args:
        sweep: the file.
        method: ``grid`` or ``random``; the file's without it.
        count: at most so many; the file's ``run_cap`` without it, or else all of a grid and 10 random ones.
        seed: of random ones.

    Raises:
        ValueError: for what only W&B can do, and values that make no sense.
    """
    method, count = method or sweep.method, count if count is not None else sweep.run_cap
    if method == "bayes":
        raise ValueError(
            f"method of {sweep.path} is bayes, which needs W&B (wandb sweep); give --method random or grid."
        )
    kinds = {name: distribution_of(sweep, name) for name in sweep.parameters}
    if method == "grid":
        return list(itertools.islice(_grid(sweep, kinds), count))
    generators = (np.random.default_rng([seed, number]) for number in range(10 if count is None else count))
    return [_drawn(sweep, kinds, generator) for generator in generators]


def _grid(sweep: SweepFile, kinds: Mapping[str, str]) -> Iterator[Setting]:
    for name, kind in kinds.items():
        if kind not in {"constant", "categorical", "int_uniform"}:
            raise ValueError(
                f"parameters.{name} of {sweep.path} is drawn ({kind}), which no grid can do; give values: […], or --method"
                " random."
            )
    columns = [_all_values(sweep.parameters[name]) for name in kinds]
    return (dict(zip(kinds, values, strict=True)) for values in itertools.product(*columns))


def _all_values(of: Mapping[str, Any]) -> Sequence[Any]:
    if "value" in of:
        return [of["value"]]
    return of["values"] if "values" in of else range(of["min"], of["max"] + 1)


def _drawn(sweep: SweepFile, kinds: Mapping[str, str], generator: np.random.Generator) -> Setting:
    drawn: dict[str, Any] = {}
    for name, kind in kinds.items():
        try:
            drawn[name] = DRAWS[kind](sweep.parameters[name], generator)
        except (KeyError, ValueError, TypeError) as error:
            told = f"needs {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"parameters.{name} of {sweep.path} cannot be drawn as {kind}: {told}.") from error
    return drawn


def distribution_of(sweep: SweepFile, name: str) -> str:
    """W&B's name of a parameter's distribution, which the keys say where it is not given.

    Raises:
        ValueError: for one that is not drawn here.
    """
    of = sweep.parameters[name]
    if "parameters" in of:
        raise ValueError(f"parameters.{name} of {sweep.path} is nested; give each option by its whole dotted name.")
    whole = all(isinstance(of.get(key), int) for key in ("min", "max"))
    default = (
        "constant" if "value" in of else "categorical" if "values" in of else "int_uniform" if whole else "uniform"
    )
    kind = str(of.get("distribution", default))
    if kind not in DRAWS:
        raise ValueError(
            f"distribution {kind} of parameters.{name} of {sweep.path} is W&B's alone; give one of {', '.join(DRAWS)}."
        )
    needed = {"constant": ["value"], "normal": []}.get(kind, ["values"] if kind.startswith("cat") else ["min", "max"])
    if missing := [key for key in needed if key not in of]:
        raise ValueError(f"parameters.{name} of {sweep.path} has no {missing[0]}, which {kind} needs.")
    if needed == ["values"] and not (isinstance(of["values"], list) and of["values"]):
        raise ValueError(f"parameters.{name}.values of {sweep.path} is {of['values']!r}; give a list of values.")
    if kind == "int_uniform" and not (whole and of["min"] <= of["max"]):
        bounds = f"from {of['min']} to {of['max']}"
        raise ValueError(f"parameters.{name} of {sweep.path} is {bounds}; give whole numbers, the smaller one as min.")
    return kind


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Each dotted name by as many of its last parts as tell it from the others.

    Example:
        >>> short_names(["model.init_args.training.beta", "a.lr", "b.lr"])
        {'model.init_args.training.beta': 'beta', 'a.lr': 'a.lr', 'b.lr': 'b.lr'}
    """
    short: dict[str, str] = {}
    for name in names:
        parts = name.split(".")
        ends = (".".join(parts[-count:]) for count in range(1, len(parts) + 1))
        others = [f".{other}" for other in names if other != name]
        short[name] = next((end for end in ends if not any(other.endswith(f".{end}") for other in others)), name)
    return short


def folder_name(setting: Setting, varied: Mapping[str, str]) -> str:
    """Name of a run's folder, from the values that differ between runs.

    Args:
        setting: of the run.
        varied: short names of the parameters that have several values.

    Example:
        >>> folder_name({"a.beta": 0.5, "a.hidden": [64, 16]}, {"a.beta": "beta", "a.hidden": "hidden"})
        'beta=0.5,hidden=64-16'
    """
    values = [f"{short}={_plain(setting[name])}" for name, short in varied.items()]
    text = ",".join(values) or "run"
    if len(text) <= LONGEST:
        return text
    digest = hashlib.sha256(repr(sorted(setting.items())).encode()).hexdigest()[:8]
    return f"{text[: LONGEST - 9]}-{digest}"


def _plain(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return re.sub(r"[^\w.+]+", "-", text).strip("-") or "empty" if not text.startswith("-") else text
