"""What callbacks ask of the trainer, its datamodule and its module."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation


def datamodule_of(trainer: pl.Trainer, callback: pl.Callback) -> Any:
    """The run's datamodule.

    Raises:
        ValueError: If the trainer was given loaders only, which cannot say how to undo their preprocessing.
    """
    datamodule = getattr(trainer, "datamodule", None)
    if datamodule is None:
        raise ValueError(
            f"{type(callback).__name__} needs a datamodule; pass datamodule=… to the trainer, not loaders."
        )
    return datamodule


def explanation_of(outputs: object, callback: pl.Callback, step: str) -> Explanation:
    """What a step returned, on the CPU.

    Raises:
        ValueError: If it is not an Explanation.
    """
    if not isinstance(outputs, Explanation):
        raise ValueError(
            f"{type(callback).__name__} needs a {step} that returns an Explanation, got {type(outputs).__name__}; "
            "use it with an explainer's module."
        )
    return outputs.cpu()


def class_names(trainer: pl.Trainer, pl_module: pl.LightningModule, callback: pl.Callback) -> Sequence[str]:
    """Names of the backbone's classes: the explainer's own, or else the data set's."""
    explainer: Any = pl_module.explainer
    return list(explainer.classes or datamodule_of(trainer, callback).classes)


def plain_images(trainer: pl.Trainer, batch: Batch, callback: pl.Callback, rows: Sequence[int]) -> Tensor:
    """(len(rows), 3, H, W) in [0, 1], on the CPU: some of the batch's images as they were before normalisation."""
    images: Tensor = datamodule_of(trainer, callback).preprocessing.denormalize(batch["image"][list(rows)])
    return images.detach().cpu()
