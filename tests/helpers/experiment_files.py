"""Experiment files of a few lines, and a stand-in for ``train.py`` that notes its calls and writes figures."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from experiments.planning import Places
from experiments.reading import read_experiment
from experiments.schema import Experiment


def write_experiment(folder: Path, name: str = "table", **keys: Any) -> Path:
    """Writes an experiment of the paper ``paper2020``, with a run where none is given."""
    path = folder / "paper2020" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        yaml.safe_dump({"title": "A table", "runs": {"first": {}}} | keys, sort_keys=False), encoding="utf-8"
    )
    return path


def experiment_of(folder: Path, **keys: Any) -> Experiment:
    """Such a file, read."""
    return read_experiment(write_experiment(folder, **keys))


def places_in(folder: Path, *, tiny: bool = False) -> Places:
    """Places below a folder."""
    return Places(folder / "data", folder / "out", tiny)


class FakeTrain:
    """Notes the words of each call, and writes the figures that a command leaves.

    Args:
        figures: makes those of ``fit`` or ``test`` from the options by their keys.
    """

    def __init__(self, figures: Callable[[str, Mapping[str, str]], Mapping[str, float | None]] | None = None) -> None:
        self.figures = figures or (lambda command, _: {f"{command}/loss": 1.0})
        self.calls: list[list[str]] = []
        self.fails_at: int | None = None

    def __call__(self, arguments: Sequence[str]) -> None:
        self.calls.append(list(arguments))
        if self.fails_at == len(self.calls):
            raise ValueError("it failed")
        options = options_of(arguments)
        folder = Path(options["trainer.default_root_dir"])
        name = {"fit": "metrics-fit.json", "test": "metrics.json"}[arguments[0]]
        (folder / name).write_text(json.dumps(self.figures(arguments[0], options)))
        if arguments[0] == "fit":
            (folder / "config-fit.yaml").write_text("seed: 0")

    @property
    def commands(self) -> list[str]:
        """Command and run of each call."""
        return [f"{call[0]} {Path(options_of(call)['trainer.default_root_dir']).name}" for call in self.calls]


def options_of(arguments: Sequence[str]) -> dict[str, str]:
    """Values by key of words ``--KEY=VALUE``; of several the last."""
    return dict(word[2:].split("=", 1) for word in arguments if word.startswith("--"))
