"""Runner: calls ``train.py`` for every run of an experiment that is not complete, each command in a process of its own."""

import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from experiments.choosing import choice_of, choose
from experiments.needs import check_needs
from experiments.planning import Places, Planned, owner_of, planned_runs
from experiments.schema import Experiment
from vitrine.core.atomic_io import atomic_file

ROOT = Path(__file__).parents[1]
STATE_NAME = "experiment.json"
"""What a run's folder keeps of how far it is."""

Train = Callable[[Sequence[str]], object]
"""Runs ``train.py`` with the words of a command line; raises an error where it fails."""


def train_in_child(arguments: Sequence[str]) -> None:
    """Runs ``train.py`` in a process of its own, from the repository's folder, with this terminal.

    Raises:
        ValueError: where it ends with an error, which it has told.
    """
    command = [sys.executable, "train.py", *arguments]
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    if code:
        raise ValueError(
            f"`{shlex.join(['python', *command[1:]])}` ended with exit code {code}; its message stands above."
        )


class Runner:
    """Runs what is not complete of an experiment.

    Args:
        experiment: whose runs.
        places: where it reads and writes.
        train: runs ``train.py``.
        tell: is told of each command before it starts.
    """

    def __init__(
        self,
        experiment: Experiment,
        places: Places,
        train: Train = train_in_child,
        tell: Callable[[str], object] = sys.stderr.write,
    ) -> None:
        self.experiment, self.places, self.train, self.tell = experiment, places, train, tell
        self.digests: dict[str, str] = {}  # of complete runs and all that they read
        self._others: dict[str, Runner] = {}  # of experiments whose runs are taken

    def run(self, only: Collection[str] = ()) -> None:
        """Runs the experiment's runs in order; of ``only``, where given, and what these read.

        Args:
            only: names of runs, or those that they have in the file.

        Raises:
            ValueError: for a name that is no run, and a command that fails.
            FileNotFoundError: for data that are not there.
        """
        planned = planned_runs(self.experiment, self.places)
        wanted = _wanted(planned, only)
        check_needs(self.experiment, self.places, planned, wanted)
        for one in planned:
            number = f"{wanted.index(one.name) + 1}/{len(wanted)}" if one.name in wanted else ""
            self._run_one(one, number)

    def look(self) -> None:
        """Notes which runs are complete, and runs nothing."""
        for one in planned_runs(self.experiment, self.places):
            self._run_one(one, "")

    def _run_one(self, planned: Planned, number: str) -> None:
        """Runs one where it has a number, else looks whether it is complete."""
        options = self.experiment.runs[planned.option_name]
        if options.of is not None:
            self._take(planned, options.of, number)
            return
        if options.choose is not None:
            chosen = choice_of(self.experiment, planned.option_name, self.places, self.digests)
            if chosen is None and not number:
                return  # with what it is to be run is not known yet
            if chosen is None and number:
                chosen = choose(self.experiment, planned, self.places, self._complete, self.digests)
            planned = planned.with_overrides(planned.name, chosen or {})
        if number:
            self._complete(planned, number)
        elif self._state(planned)["done"] == list(planned.commands):
            self.digests[planned.name] = self._digest(planned)

    def _take(self, planned: Planned, name: str, number: str) -> None:
        """Runs another experiment's run, or looks whether it is complete."""
        if name not in self._others:
            owner = owner_of(self.experiment, planned.option_name)
            self._others[name] = Runner(owner, self.places, self.train, self.tell)
            self._others[name].look()
        other = self._others[name]
        if number and planned.name not in other.digests:
            other.run({planned.name})
        if planned.name in other.digests:
            self.digests[planned.name] = other.digests[planned.name]

    def _complete(self, planned: Planned, number: str = "") -> Path:
        """Runs the commands of a run that have not been run; returns its folder."""
        state, folder = self._state(planned), self.places.run_folder(self.experiment, planned.name)
        for command in planned.commands[len(state["done"]) :]:
            self.tell(f"[{number or 'choice'}] {self.experiment.name} {planned.name}: {command}\n")
            _write_state(folder, state)
            further = _how_to_begin(folder, state) if command == "fit" else []
            self.train([command, *planned.arguments, *further])
            state = state | {"done": [*state["done"], command]}
            _write_state(folder, state)
        self.digests[planned.name] = state["digest"]
        return folder

    def _digest(self, planned: Planned) -> str:
        return "+".join([planned.digest, *(self.digests.get(name, "") for name in planned.needs)])

    def _state(self, planned: Planned) -> dict[str, Any]:
        """How far a run is; as if nothing were there where its arguments, or those of what it reads, are others now."""
        folder, digest = self.places.run_folder(self.experiment, planned.name), self._digest(planned)
        try:
            state: dict[str, Any] = json.loads((folder / STATE_NAME).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            state = {}
        if state.get("digest") == digest:
            return state
        return {"digest": digest, "done": [], "earlier_fit": _fit_stamp(folder)}


def complete_folders(experiment: Experiment, places: Places) -> set[Path]:
    """Folders of the runs that are complete under the options that they have today, and of those that they read."""
    runner = Runner(experiment, places)
    runner.look()
    return {places.run_folder(experiment, name) for name in runner.digests}


def _fit_stamp(folder: Path) -> int | None:
    """When the fit that a folder holds began; None where it holds none."""
    path = folder / "config-fit.yaml"
    return path.stat().st_mtime_ns if path.is_file() else None


def _how_to_begin(folder: Path, state: dict[str, Any]) -> list[str]:
    """Options of a fit that replaces one with other arguments, or goes on with its own where that was stopped."""
    is_earlier = state["earlier_fit"] is not None and state["earlier_fit"] == _fit_stamp(folder)
    return ["--overwrite=true"] if is_earlier else ["--ckpt_path=auto"]


def _write_state(folder: Path, state: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / STATE_NAME) as partial:
        partial.write_text(json.dumps(state) + "\n", encoding="utf-8")


def _wanted(planned: Sequence[Planned], only: Collection[str]) -> list[str]:
    """Names of the runs to be run, in order: those of ``only`` and what they read."""
    known = {name for one in planned for name in (one.name, one.option_name)}
    unknown = sorted(set(only) - known)
    if unknown:
        raise ValueError(f"--only names {unknown[0]!r}, which is no run; there are {', '.join(sorted(known))}.")
    wanted: set[str] = set()
    for one in reversed(planned):  # what is read stands before what reads it
        if not only or {one.name, one.option_name} & set(only) or one.name in wanted:
            wanted |= {one.name, *one.needs}
    return [one.name for one in planned if one.name in wanted]
