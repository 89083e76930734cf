"""Logger adapter: pictures, tables and artifacts for Weights & Biases, pictures for TensorBoard."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger

STEP = "trainer/global_step"
"""The key by which WandbLogger orders everything; W&B's own step would run ahead of it."""


class Table(NamedTuple):
    """Rows under named columns."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


def log_image(trainer: pl.Trainer, name: str, image: Image.Image) -> bool:
    """Sends a picture at the trainer's step to each W&B and TensorBoard logger; False where there is none.

    Args:
        trainer: whose loggers are asked; only rank zero's have an experiment.
        name: of the picture.
        image: RGB.
    """
    boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    for board in boards:
        board.experiment.add_image(name, np.asarray(image), trainer.global_step, dataformats="HWC")
    return _log_to_wandb(trainer, lambda wandb: {name: wandb.Image(image)}) or bool(boards)


def log_tables(trainer: pl.Trainer, tables: Mapping[str, Table]) -> None:
    """Sends tables at the trainer's step, by name, to each W&B logger."""
    _log_to_wandb(
        trainer,
        lambda wandb: {
            name: wandb.Table(list(table.columns), [list(row) for row in table.rows]) for name, table in tables.items()
        },
    )


def log_artifact(trainer: pl.Trainer, path: Path) -> None:
    """Sends a file or a folder to each W&B logger, as an artifact of its name's kind: ``explainer``, ``classifier``."""
    for logger in _wandb_loggers(trainer):
        import wandb  # noqa: PLC0415 - starts slowly, and only runs with this logger need it

        artifact = wandb.Artifact(f"{path.stem}-{logger.experiment.id}", type=path.stem)
        if path.is_dir():
            artifact.add_dir(str(path))
        else:
            artifact.add_file(str(path))
        logger.experiment.log_artifact(artifact)


def _log_to_wandb(trainer: pl.Trainer, values: Callable[[ModuleType], Mapping[str, object]]) -> bool:
    """Sends what is made with the module ``wandb`` to each W&B logger; False where there is none."""
    loggers = _wandb_loggers(trainer)
    for logger in loggers:
        import wandb  # noqa: PLC0415 - the same

        logger.experiment.log({**values(wandb), STEP: trainer.global_step})
    return bool(loggers)


def _wandb_loggers(trainer: pl.Trainer) -> list[WandbLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
