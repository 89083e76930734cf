"""EpochLines: the progress of a run in a log file, a line for each epoch, where there is no terminal for a bar."""

import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ProgressBar, RichProgressBar, TQDMProgressBar
from rich.console import Console
from typing_extensions import override

from callbacks.progress_bar import RunProgressBar
from callbacks.step_figures import ImageRate, epoch_line, epochs_of
from vitrine.core.verbosity import is_quiet


class EpochLines(ProgressBar):
    """Writes a line at the end of each training epoch, and of a long test or prediction now and then.

    Args:
        seconds: at least so many lie between two lines, but for that of the last epoch.
    """

    def __init__(self, seconds: float = 10.0) -> None:
        super().__init__()
        self.seconds = seconds
        self._told = self._begun = 0.0
        self._first_epoch = 0
        self._rate = ImageRate(seconds)
        self._enabled = True

    @override
    def disable(self) -> None:
        self._enabled = False

    @override
    def enable(self) -> None:
        self._enabled = True

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begun, self._told, self._first_epoch = time.monotonic(), 0.0, trainer.current_epoch
        self._rate.restart()

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self._rate.add(batch, trainer.world_size)

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch, epochs = trainer.current_epoch + 1, epochs_of(trainer, pl_module)
        if not (trainer.should_stop or epoch == epochs or self._is_due()):
            return
        of, left = (f"/{epochs}", self._left(epoch, epochs)) if epochs else ("", "")
        self._tell("  ".join(filter(None, (f"epoch {epoch}{of}", epoch_line(trainer), str(self._rate), left))))

    def _left(self, epoch: int, epochs: int) -> str:
        if epoch >= epochs:
            return ""
        passed = time.monotonic() - self._begun
        seconds = passed / max(epoch - self._first_epoch, 1) * (epochs - epoch)
        return f"{timedelta(seconds=round(seconds))} left"

    @override
    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._restart()

    @override
    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._restart()

    def _restart(self) -> None:
        self._rate.restart()
        self._told = time.monotonic()

    @override
    def on_test_batch_end(self, *args: Any) -> None:
        self._evaluated("test", args[3], args[4], sum(self.trainer.num_test_batches))

    @override
    def on_predict_batch_end(self, *args: Any) -> None:
        self._evaluated("predict", args[3], args[4], sum(self.trainer.num_predict_batches))

    def _evaluated(self, stage: str, batch: object, number: int, total: float) -> None:
        self._rate.add(batch, self.trainer.world_size)
        if self._is_due():
            self._tell(f"{stage} {number + 1}/{total:.0f} batches  {self._rate}")

    def _is_due(self) -> bool:
        return time.monotonic() - self._told >= self.seconds

    def _tell(self, line: str) -> None:
        self._told = time.monotonic()
        if self._enabled:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


def with_own_bar(callbacks: Sequence[Callback], given: Sequence[Callback]) -> list[Callback]:
    """The trainer's callbacks with a bar of this project, in place of Lightning's, where the trainer has made that itself.

    Args:
        callbacks: of the trainer.
        given: those that the configuration names.
    """
    is_terminal = Console().is_terminal
    return [
        (RunProgressBar() if is_terminal else EpochLines())
        if isinstance(one, RichProgressBar | TQDMProgressBar) and one not in given
        else one
        for one in callbacks
        if not (is_quiet() and isinstance(one, ProgressBar) and one not in given)
    ]
