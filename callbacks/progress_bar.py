"""RunProgressBar: the bar of a run in a terminal, with losses of the step, images a second and the time that is left."""

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn
from typing_extensions import override

from callbacks.step_figures import ImageRate, epoch_line, epochs_of, step_line

SECONDS = 0.5
"""How often the losses of a step are read, which waits for the device."""


BAR, TIME_AND_GAPS = 14, 7 + 6
"""Columns that the bar takes, and the time that is left with the gaps."""


class RunProgressBar(RichProgressBar):
    """Shows batches of an epoch's total, images a second over all ranks, what is left of it, and the losses of the step."""

    def __init__(self) -> None:
        super().__init__()
        self._rate, self._figures, self._read = ImageRate(), "", 0.0

    @override
    def configure_columns(self, trainer: pl.Trainer) -> list[ProgressColumn]:
        columns = [TextColumn("{task.description}"), BarColumn(bar_width=BAR), MofNCompleteColumn()]
        return [
            *columns,
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
        ]

    @override
    def _add_task(self, total_batches: float, description: str, visible: bool = True) -> Any:
        assert self.progress is not None  # noqa: S101 - as Lightning's own, for the type
        self._rate.restart()
        total = None if total_batches == float("inf") else total_batches
        return self.progress.add_task(description, total=total, visible=visible, rate="", figures="")

    @override
    def _get_train_description(self, current_epoch: int) -> str:
        last = epochs_of(self.trainer, self.trainer.lightning_module)
        return f"epoch {current_epoch + 1}" + (f"/{last}" if last else "")

    @override
    def _update_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Figures stand in a column of their own."""

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._rate.restart()
        super().on_train_epoch_start(trainer, pl_module)

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self.is_enabled and time.monotonic() - self._read > SECONDS:
            self._figures, self._read = step_line(pl_module), time.monotonic()
        self._show(self.train_progress_bar_id, batch)

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._figures = epoch_line(trainer)
        self._show(self.train_progress_bar_id, None)

    @override
    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        super().on_validation_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)
        self._show(None if trainer.sanity_checking else self.val_progress_bar_id, batch)

    @override
    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        super().on_test_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)
        self._show(self.test_progress_bar_id, batch)

    @override
    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        super().on_predict_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)
        self._show(self.predict_progress_bar_id, batch)

    def _show(self, task: Any, batch: object) -> None:
        if self.progress is None or self.is_disabled or task is None:
            return
        if batch is not None:
            self._rate.add(batch, self.trainer.world_size)
        of, rate = self.progress.tasks[task], str(self._rate)
        taken = len(f"{of.description}{of.total}/{of.total}{rate}") + BAR + TIME_AND_GAPS
        figures = fitting(self._figures, self.progress.console.width - taken) if self.trainer.training else ""
        self.progress.update(task, rate=rate, figures=figures)


def fitting(figures: str, room: int) -> str:
    """As many of the figures as there is room for; more would shrink the bar.

    Example:
        >>> fitting("loss 0.5  f_cls 0.75", 12)
        'loss 0.5'
    """
    return figures if len(figures) <= room else figures[: max(room, 0)].rpartition("  ")[0]
