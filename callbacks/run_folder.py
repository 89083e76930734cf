"""Run folder: the configuration, checkpoints, metrics and exported explainer that every run writes."""

import json
import math
from pathlib import Path
from typing import Protocol, cast

import yaml
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.cli import SaveConfigCallback
from pytorch_lightning.trainer.states import TrainerFn
from typing_extensions import override

from callbacks.loggers import log_artifact
from vitrine.core.atomic_io import atomic_file
from vitrine.core.options import Count, checked

FOLDER = "checkpoints"
NAME = "last.ckpt"


class RunCheckpoint(Checkpoint):
    """Writes ``checkpoints/last.ckpt`` in the run's folder; the earlier one is kept until the new one is complete.

    To keep the best of several, add Lightning's own ModelCheckpoint to ``trainer.callbacks``.

    Args:
        every_n_epochs: how often; after the last epoch always.
        every_n_steps: also within an epoch, where given.

    Raises:
        ValueError: for a number below 1.
    """

    @checked
    def __init__(self, every_n_epochs: Count = 10, every_n_steps: Count | None = None) -> None:
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
    """Path of a run's checkpoint."""
    return Path(run_folder, FOLDER, NAME)


def save(trainer: Trainer) -> None:
    """Writes the checkpoint under another name and renames it; all ranks take part."""
    path = last_checkpoint(trainer.default_root_dir)
    partial = path.with_name(f".{NAME}.partial")
    trainer.save_checkpoint(partial, weights_only=False)  # with None Lightning prints that it is False
    if trainer.is_global_zero:
        partial.replace(path)
    trainer.strategy.barrier("checkpoint")


class EpochMetrics(Callback):
    """Computes an epoch's logged metrics on all ranks, before the progress bar asks for them on rank zero alone.

    Computing them is a collective, which Lightning puts off until they are read, and whose result it keeps. It has to come
    before the progress bar among the trainer's callbacks.
    """

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _ = trainer.callback_metrics


METRICS_NAME = "metrics.json"


class MetricsFile(Callback):
    """Writes ``metrics.json`` into the run's folder after a test: one flat object of names and numbers, null for NaN."""

    @override
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Asked for on all ranks: what Lightning has not computed by now is a collective.
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if not trainer.is_global_zero:
            return
        finite = {name: value if math.isfinite(value) else None for name, value in sorted(values.items())}
        with atomic_file(Path(trainer.default_root_dir, METRICS_NAME)) as partial:
            partial.write_text(json.dumps(finite, indent=2) + "\n", encoding="utf-8")


class RunConfig(SaveConfigCallback):
    """Writes ``config-fit.yaml`` (or -test, …) into the run's folder, and sends the same values to the logger.

    Lightning's own callback writes into the logger's shared folder and stops a second run there; the run's folder is the
    run's own, so here a second run of the same stage replaces the first one's file.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **{**kwargs, "save_to_log_dir": False})  # type: ignore[arg-type]

    @override
    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        name = f"config-{TrainerFn(stage).value}.yaml"
        text = self.parser.dump(self.config, skip_unset=False)
        with atomic_file(Path(trainer.default_root_dir, name)) as partial:
            partial.write_text(text, encoding="utf-8")
        for logger in trainer.loggers:
            logger.log_hyperparams(yaml.safe_load(text))


class Exports(Protocol):
    """A module that writes what it has learned for use elsewhere."""

    def export(self, folder: Path) -> Path:
        """Writes it into a folder, and returns where it is."""


class Export(Callback):
    """After fitting, writes the explainer (or classifier) into the run's folder, and to W&B as an artifact.

    Args:
        artifact: whether a W&B logger, where there is one, gets the artifact.
    """

    def __init__(self, artifact: bool = True) -> None:
        self.artifact = artifact

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        path = cast("Exports", pl_module).export(folder)
        if self.artifact:
            log_artifact(trainer, path)
