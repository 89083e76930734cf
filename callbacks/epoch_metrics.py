"""Keeps a progress bar from waiting for ranks that have none."""

from pytorch_lightning import Callback, LightningModule, Trainer
from typing_extensions import override


class EpochMetrics(Callback):
    """Computes an epoch's logged metrics on all ranks, before the progress bar asks for them on rank zero alone.

    Computing them is a collective, which Lightning puts off until somebody asks and whose result it keeps. It has to
    stand before the progress bar among the trainer's callbacks.
    """

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _ = trainer.callback_metrics
