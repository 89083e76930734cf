"""Sweep files in the format of W&B: what is varied, how, and the command of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vitrine.core.near_names import did_you_mean

KEYS = {
    "command", "controller", "description", "early_terminate", "entity", "method", "metric", "name", "parameters", "program",
    "project", "run_cap",
}  # fmt: skip
"""What W&B takes at the top of a file."""
METHODS = ("grid", "random", "bayes")
GOALS = ("minimize", "maximize")
COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")
"""W&B's, where a file has none."""


@dataclass(frozen=True)
class SweepFile:
    """What a sweep file says.

    Args:
        path: of the file.
        method: ``grid``, ``random`` or ``bayes``.
        metric: by which runs are ordered.
        smaller: whether a smaller value of it is better.
        parameters: by option of ``train.py``, what values it takes, in W&B's words.
        command: of a run, with W&B's placeholders.
        program: the script, as the file has it.
        run_cap: at most so many runs.
    """

    path: Path
    method: str
    metric: str
    smaller: bool
    parameters: Mapping[str, Mapping[str, Any]]
    command: Sequence[str]
    program: str
    run_cap: int | None = None


def read_sweep(path: Path) -> SweepFile:
    """Reads a sweep file.

    Raises:
        FileNotFoundError: where it is not there.
        ValueError: where it is not as W&B has it, with the key and what would be right.
    """
    if not path.is_file():
        raise FileNotFoundError(f"The sweep file {path} does not exist; configs/sweeps holds some.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not a YAML file: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a YAML file of keys and values.")
    for key in content.keys() - KEYS:
        raise ValueError(f"{path} has the key {key}, which is none of a sweep{did_you_mean(str(key), KEYS)}")
    metric = _of_kind(path, content, "metric", dict, {})
    return SweepFile(
        path=path,
        method=_one_of(path, "method", content.get("method", "grid"), METHODS),
        metric=str(metric.get("name", "")),
        smaller=_one_of(path, "metric.goal", metric.get("goal", "minimize"), GOALS) == "minimize",
        parameters=_parameters(path, content),
        command=[str(word) for word in _of_kind(path, content, "command", list, list(COMMAND))],
        program=_of_kind(path, content, "program", str, "train.py"),
        run_cap=_cap(path, content.get("run_cap")),
    )


def _parameters(path: Path, content: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    parameters: dict[str, Any] = _of_kind(path, content, "parameters", dict, {})
    if not parameters:
        example = "model.init_args.training.beta: {values: [0, 1]}"
        raise ValueError(f"{path} varies nothing; give parameters, such as {example}.")
    for name, values in parameters.items():
        if not isinstance(name, str):
            raise ValueError(f"parameters of {path} has the key {name!r}; give the dotted name of an option.")
        if not isinstance(values, dict):
            raise ValueError(f"parameters.{name} of {path} is {values!r}; give {{values: […]}} or {{min: …, max: …}}.")
    return parameters


def _cap(path: Path, value: Any) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError(f"run_cap of {path} is {value!r}; give a whole number of 1 or more.")
    return value


def _of_kind(path: Path, content: Mapping[str, Any], key: str, kind: type, default: Any) -> Any:
    value = content.get(key, default)
    if not isinstance(value, kind):
        words: dict[type, str] = {dict: "keys and values", list: "a list", str: "a text"}
        raise ValueError(f"{key} of {path} is {value!r}; give {words[kind]}.")
    return value


def _one_of(path: Path, key: str, value: object, known: Sequence[str]) -> str:
    if value not in known:
        raise ValueError(f"{key} of {path} is {value!r}; give one of {', '.join(known)}.")
    return str(value)
