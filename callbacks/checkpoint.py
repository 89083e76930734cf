"""Keeps one checkpoint a run, from which it can be resumed, tested and applied."""

from pathlib import Path

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from typing_extensions import override

FOLDER = "checkpoints"
NAME = "last.ckpt"


class RunCheckpoint(Checkpoint):
    """Writes ``checkpoints/last.ckpt`` in the run's folder; the earlier one stands until the new one is whole.

    To keep the best of several, add Lightning's own ModelCheckpoint to ``trainer.callbacks``.

    Args:
        every_n_epochs: how often; after the last epoch always.
        every_n_steps: also within an epoch, where given.
    """

    def __init__(self, every_n_epochs: int = 10, every_n_steps: int | None = None) -> None:
        for name, value in (("every_n_epochs", every_n_epochs), ("every_n_steps", every_n_steps)):
            if value is not None and value < 1:
                raise ValueError(f"checkpoint.{name} is {value}; give 1 or more.")
        self.every_n_epochs = every_n_epochs
        self.every_n_steps = every_n_steps

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        # A fit without optimiser steps stays at step 0.
        if self.every_n_steps and trainer.global_step and trainer.global_step % self.every_n_steps == 0:
            save(trainer)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            save(trainer)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        save(trainer)


def last_checkpoint(run_folder: str | Path) -> Path:
    """Where a run's checkpoint stands."""
    return Path(run_folder, FOLDER, NAME)


def save(trainer: Trainer) -> None:
    """Writes the checkpoint under another name and renames it; all ranks take part."""
    path = last_checkpoint(trainer.default_root_dir)
    partial = path.with_name(f".{NAME}.partial")
    trainer.save_checkpoint(partial, weights_only=False)  # said aloud: with None Lightning prints that it is False
    if trainer.is_global_zero:
        partial.replace(path)
    trainer.strategy.barrier("checkpoint")
