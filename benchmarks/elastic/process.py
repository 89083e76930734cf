"""One process of a fit that is to be killed: ``train.py`` with a callback that records its batches and ends it.

``python -m benchmarks.elastic.process PLAN.json fit …``; what follows the plan are the arguments of ``train.py``.
"""

import atexit
import json
import os
import signal
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from typing_extensions import override

import train
from benchmarks.small_runs import extra_callback
from vitrine.core.distributed import leave_process_group

KINDS = ("SIGKILL", "SIGTERM", "exception")


@dataclass(frozen=True)
class Kill:
    """When and how a process is ended.

    Args:
        step: the optimiser step at whose end; 0 for a process that may go on to its end.
        kind: one of `KINDS`.
        delay: seconds after it, in which saving, validation or the next step goes on; of signals alone.
        rank: whose process.
    """

    step: int = 0
    kind: str = "SIGKILL"
    delay: float = 0.0
    rank: int = 0


@dataclass(frozen=True)
class Plan:
    """What one process of a chain does.

    Args:
        record: folder of the records.
        attempt: its number in the chain.
        kill: its end.
    """

    record: str
    attempt: int
    kill: Kill

    def write(self, path: Path) -> Path:
        """Writes it as JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> "Plan":
        """Reads what `write` wrote."""
        entries = json.loads(path.read_text(encoding="utf-8"))
        return cls(entries["record"], entries["attempt"], Kill(**entries["kill"]))


class Recorder(pl.Callback):
    """Records the keys of each batch that was trained on, and ends the process as planned."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Any, batch_idx: int
    ) -> None:
        line = {"epoch": trainer.current_epoch, "step": trainer.global_step, "keys": list(batch["key"])}
        path = Path(self.plan.record) / f"{self.plan.attempt:03d}-{trainer.global_rank}.jsonl"
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        kill = self.plan.kill
        if kill.step and trainer.global_step == kill.step and trainer.global_rank == kill.rank:
            end(kill)


def end(kill: Kill) -> None:
    """Ends this process, at once or a moment later.

    Raises:
        RuntimeError: for the kind ``exception``.
    """
    if kill.kind == "exception":
        raise RuntimeError(f"planned at step {kill.step}")
    timer = threading.Timer(kill.delay, os.kill, (os.getpid(), getattr(signal, kill.kind)))
    timer.daemon = True
    timer.start()


def main() -> None:
    """Trains as the plan says."""
    plan = Plan.read(Path(sys.argv[1]))
    with extra_callback(Recorder(plan)):
        train.main(sys.argv[2:])


if __name__ == "__main__":
    atexit.register(leave_process_group)
    main()
