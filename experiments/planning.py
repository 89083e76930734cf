"""Plans of runs: the command lines of an experiment, with the places of data and of earlier runs filled in."""

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.schema import Experiment, Overrides, RunOptions
from vitrine.core.near_names import did_you_mean

_PLACE = re.compile(r"\$\{(data|out|each|run:[^{}]+)\}")
_UNFIT = re.compile(r"[^\w.=-]+")
"""What does not belong into the name of a folder."""


@dataclass(frozen=True)
class Places:
    """Where an experiment reads and writes.

    Args:
        data: folder of the data sets.
        out: folder of all experiments.
        tiny: whether the overrides for tiny sets hold.
    """

    data: Path
    out: Path
    tiny: bool = False

    def folder(self, experiment: Experiment) -> Path:
        """The folder of an experiment: its runs, its table and its figures."""
        return self.out / experiment.name

    def run_folder(self, experiment: Experiment, run: str) -> Path:
        """The folder of one of its runs."""
        return self.folder(experiment) / run


@dataclass(frozen=True)
class Planned:
    """One run folder and the commands that fill it.

    Args:
        name: of the run, with the value that it has of an ``over``.
        option_name: under which it stands in the file.
        commands: of ``train.py``, in order.
        arguments: of each of them.
        needs: earlier runs that it reads.
    """

    name: str
    option_name: str
    commands: Sequence[str]
    arguments: Sequence[str]
    needs: Sequence[str]

    def with_overrides(self, name: str, overrides: Overrides, commands: Sequence[str] | None = None) -> "Planned":
        """The same with further overrides, under another name."""
        arguments = [*self.arguments, *words(overrides)]
        return Planned(name, self.option_name, commands or self.commands, arguments, self.needs)

    @property
    def digest(self) -> str:
        """Of the commands and their arguments."""
        return hashlib.sha256(json.dumps([list(self.commands), list(self.arguments)]).encode()).hexdigest()[:16]


def planned_runs(experiment: Experiment, places: Places) -> list[Planned]:
    """All runs of an experiment in order, without what is still to be chosen.

    Raises:
        ValueError: for a ``${run:NAME}`` that names no earlier run.
    """
    planned: list[Planned] = []
    for name in experiment.runs:
        planned.extend(_expanded(experiment, name, places, [one.name for one in planned]))
    return planned


def expanded_names(experiment: Experiment, name: str) -> list[str]:
    """Names of the runs that a run of the file stands for."""
    return [f"{name}-{tag}" if tag else name for tag, _ in _combinations(experiment.runs[name].over)]


def grid_points(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values, the first option changing slowest."""
    return [point for _, point in _combinations(grid)]


def words(overrides: Overrides) -> list[str]:
    """Overrides as words of a command line, ``--KEY=VALUE``."""
    return [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in overrides.items()]


def _combinations(options: Mapping[str, Sequence[Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Tags, empty where nothing varies, and values by option."""
    chosen = [dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())]
    return [("-".join(_tag(value) for value in point.values()), point) for point in chosen]


def _tag(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return _UNFIT.sub("_", text).strip("_")


def _expanded(experiment: Experiment, name: str, places: Places, earlier: Sequence[str]) -> Iterator[Planned]:
    options = experiment.runs[name]
    for tag, point in _combinations(options.over):
        full = f"{name}-{tag}" if tag else name
        filled = _Filled(experiment, full, tag, places, earlier)
        yield Planned(full, name, list(options.commands), filled.arguments(options, point), sorted(filled.needs))


class _Filled:
    """Fills the places in and notes which runs are read."""

    def __init__(self, experiment: Experiment, run: str, tag: str, places: Places, earlier: Sequence[str]) -> None:
        self.experiment, self.run, self.tag, self.places, self.earlier = experiment, run, tag, places, earlier
        self.needs: set[str] = set()

    def arguments(self, options: RunOptions, point: Overrides) -> list[str]:
        configs = [word for config in options.configs for word in ("-c", self.text(config))]
        layers = [self.experiment.common, options.set, point]
        if self.places.tiny:
            layers += [self.experiment.tiny, options.tiny]
        overrides = [word for layer in layers for word in words(self.value(layer))]
        folder = self.places.run_folder(self.experiment, self.run)
        return [*configs, *overrides, f"--trainer.default_root_dir={folder}"]

    def value(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: self.value(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [self.value(entry) for entry in value]
        return self.text(value) if isinstance(value, str) else value

    def text(self, text: str) -> str:
        text = text.replace("${each}", self.tag)
        return _PLACE.sub(lambda found: str(self.place(found[1])), text)

    def place(self, name: str) -> Path:
        if name in {"data", "out"}:
            return self.places.data if name == "data" else self.places.out
        run = name.removeprefix("run:")
        if run not in self.earlier:
            hint = did_you_mean(run, self.earlier) or "; give one that stands above it."
            raise ValueError(f"{self.experiment.path}: runs.{self.run} reads the run {run!r}, which is not there{hint}")
        self.needs.add(run)
        return self.places.run_folder(self.experiment, run)
