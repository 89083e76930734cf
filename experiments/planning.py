"""Plans of runs: the command lines of an experiment, with the places of data and of earlier runs filled in."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.combinations import grid_points, names_over, tag_of
from experiments.reading import read_experiment
from experiments.schema import Experiment, Overrides, RunOptions
from vitrine.core.near_names import did_you_mean

_PLACE = re.compile(r"\$\{(data|out|each|run:[^{}]+)\}")


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
        """The folder of one of its runs, which may be that of another experiment."""
        taken = (name for name, options in experiment.runs.items() if options.of is not None)
        owners = (owner_of(experiment, name) for name in taken if run in expanded_names(experiment, name))
        return self.folder(next(owners, experiment)) / run


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
    """All runs of an experiment without what is still to be chosen: in the order of the file, those that are read first.

    Raises:
        ValueError: for a ``${run:NAME}`` that names no run, and runs that read one another.
    """
    named = {one.name: one for name in experiment.runs for one in _expanded(experiment, name, places)}
    planned: dict[str, Planned] = {}

    def add(name: str, above: tuple[str, ...] = ()) -> None:
        if name in above:
            raise ValueError(f"{experiment.path}: the run {name} reads itself, by {' → '.join([*above, name])}.")
        for needed in named[name].needs:
            add(needed, (*above, name))
        planned.setdefault(name, named[name])

    for name in named:
        add(name)
    return list(planned.values())


def owner_of(experiment: Experiment, name: str) -> Experiment:
    """The experiment that a run of the file is run for: this one, or that which it names by ``of``.

    Raises:
        ValueError: where that has no such run of its own.
    """
    other = experiment.runs[name].of
    if other is None:
        return experiment
    owner = read_experiment(experiment.path.parent / f"{other}.yaml")
    if name not in owner.runs or owner.runs[name].of is not None:
        raise ValueError(
            f"{experiment.path}: runs.{name} is taken of {owner.path}, which has no run {name!r} of its own."
        )
    return owner


def expanded_names(experiment: Experiment, name: str) -> list[str]:
    """Names of the runs that a run of the file stands for."""
    return names_over(name, owner_of(experiment, name).runs[name].over)


def _all_names(experiment: Experiment) -> list[str]:
    return [full for name in experiment.runs for full in expanded_names(experiment, name)]


def words(overrides: Overrides) -> list[str]:
    """Overrides as words of a command line, ``--KEY=VALUE``."""
    return [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in overrides.items()]


def _expanded(experiment: Experiment, name: str, places: Places) -> Iterator[Planned]:
    options, known = experiment.runs[name], _all_names(experiment)
    if options.of is not None:
        yield from (Planned(full, name, [], [], []) for full in expanded_names(experiment, name))
        return
    for full, point in zip(names_over(name, options.over), grid_points(options.over), strict=True):
        filled = _Filled(experiment, full, tag_of(point), places, known)
        yield Planned(full, name, list(options.commands), filled.arguments(options, point), sorted(filled.needs))


class _Filled:
    """Fills the places in and notes which runs are read."""

    def __init__(self, experiment: Experiment, run: str, tag: str, places: Places, known: Sequence[str]) -> None:
        self.experiment, self.run, self.tag, self.places, self.known = experiment, run, tag, places, known
        self.needs: set[str] = set()

    def arguments(self, options: RunOptions, point: Overrides) -> list[str]:
        configs = [word for config in options.configs for word in ("-c", self.text(config))]
        layers = [self.experiment.common if options.common else {}, options.set, point]
        if self.places.tiny:
            layers += [self.experiment.tiny if options.common else {}, options.tiny]
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
        if run not in self.known:
            hint = did_you_mean(run, self.known) or f"; there are {', '.join(self.known)}."
            raise ValueError(f"{self.experiment.path}: runs.{self.run} reads the run {run!r}, which is not there{hint}")
        self.needs.add(run)
        return self.places.run_folder(self.experiment, run)
