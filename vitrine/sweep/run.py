"""One run of a sweep: its folder, its commands, and what came of it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from vitrine.core.atomic_io import atomic_file

STATE, LOG = "sweep-run.json", "sweep.log"
FIGURES = ("metrics-fit.json", "metrics.json")
"""Files of a run's folder with the figures of its fit and its test."""
Status = Literal["waiting", "running", "finished", "failed"]


@dataclass(frozen=True)
class RunState:
    """What is known of a run, kept in its folder.

    Args:
        parameters: of the run, by option.
        commands: that make it, one after another.
        status: finished runs are not run again.
        error: the sentence with which it failed.
        seconds: that it took.
    """

    parameters: Mapping[str, Any]
    commands: Sequence[Sequence[str]]
    status: Status = "waiting"
    error: str = ""
    seconds: float = 0.0

    def write(self, folder: Path) -> None:
        """Keeps it in the run's folder."""
        with atomic_file(folder / STATE) as partial:
            partial.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "RunState | None":
        """What an earlier call kept; None where there is nothing."""
        path = folder / STATE
        return cls(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


@dataclass
class SweepRun:
    """A run of a sweep.

    Args:
        folder: of the run.
        parameters: by option.
        commands: that make it, such as a fit and a test.
    """

    folder: Path
    parameters: Mapping[str, Any]
    commands: Sequence[Sequence[str]]
    state: RunState = field(init=False)

    def __post_init__(self) -> None:
        earlier = RunState.read(self.folder)
        self.is_begun = earlier is not None
        if earlier is not None:
            before, now = [*map(list, earlier.commands)], [*map(list, self.commands)]
            both = min(len(before), len(now))
            if before[:both] != now[:both]:
                raise ValueError(
                    f"{self.folder} holds a run of another command (see {STATE}); give another --out, or remove the folder."
                )
            if len(before) < len(now):  # a test was asked for afterwards
                earlier = None
        self.state = earlier or RunState(self.parameters, self.commands)

    def figures(self) -> dict[str, float | None]:
        """The figures of its fit and test; None for those that are not finite."""
        found: dict[str, float | None] = {}
        for path in (self.folder / name for name in FIGURES):
            if path.is_file():
                found |= json.loads(path.read_text(encoding="utf-8"))
        return found

    def execute(self, environment: Mapping[str, str], started: "set[subprocess.Popen[bytes]]") -> RunState:
        """Runs its commands until one fails, and keeps what came of it; goes on where an earlier call was stopped.

        Args:
            environment: variables of the processes.
            started: is given each process while it runs.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        begun = time.monotonic()
        self._keep("running", "", 0.0)
        for command in self.commands:
            again = ["--ckpt_path", "auto"] if self.is_begun and "fit" in command else []
            with (self.folder / LOG).open("ab") as log:
                log.write(f"$ {' '.join([*command, *again])}\n".encode())
                log.flush()
                process = subprocess.Popen(  # noqa: S603 - the user's own command
                    [*command, *again],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, **environment},
                )
            started.add(process)
            code = process.wait()
            started.discard(process)
            if code:
                return self._keep("failed", error_sentence(self.folder / LOG, code), time.monotonic() - begun)
        return self._keep("finished", "", time.monotonic() - begun)

    def _keep(self, status: Status, error: str, seconds: float) -> RunState:
        self.state = RunState(self.parameters, self.commands, status, error, round(seconds, 1))
        self.state.write(self.folder)
        return self.state


def error_sentence(log: Path, code: int) -> str:
    """The sentence of train.py's error at the end of a log, or else its last line."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    told = [line.removeprefix("error: ") for line in lines[-50:] if line.startswith("error: ")]
    return told[-1] if told else f"exit code {code}: {lines[-1] if lines else 'it said nothing'}"


def command_of(template: Sequence[str], program: Path, parameters: Mapping[str, Any], folder: Path) -> list[str]:
    """The command of a run, with W&B's placeholders filled in, that writes into the run's folder.

    Args:
        template: the sweep file's command.
        program: train.py.
        parameters: by option.
        folder: of the run.
    """
    args = [f"--{name}={_value(value)}" for name, value in parameters.items()]
    filled = {"${env}": [], "${interpreter}": [sys.executable], "${program}": [str(program)], "${args}": args}
    words = [filled.get(word, [word]) for word in template]
    return [*(part for words_of in words for part in words_of), f"--trainer.default_root_dir={folder}"]


def _value(value: Any) -> str:
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else json.dumps(value)
