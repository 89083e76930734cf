"""Skipped samples: how many damaged ones a run has left out, over all ranks, in its metrics and in a message."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_warn
from typing_extensions import override

from vitrine.core.atomic_io import atomic_file
from vitrine.core.distributed import gather_over_ranks

FILE = "skipped_samples.json"
NAMED = 5


class Skips(Protocol):
    """What a datamodule's ``skipped`` has, where damaged samples may be left out."""

    counted: bool

    def take(self, stage: str) -> Sequence[str]:
        """Names of the samples left out on this rank, which are then forgotten."""


class SkippedSamples(Callback):
    """Counts damaged samples that ``data.init_args.loading.on_error: skip`` has left out, at the end of each epoch.

    Training, validation and test log ``train/skipped_samples``, ``val/…`` and ``test/…``. Prediction writes the number and
    the names to ``skipped_samples.json`` in the run's folder. Nothing is logged or written where a damaged sample stops
    the run.
    """

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log(trainer, pl_module, "train")

    @override
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log(trainer, pl_module, "val")

    @override
    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log(trainer, pl_module, "test")

    @override
    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        names = skipped_over_ranks(trainer, "predict")
        if names is not None and trainer.is_global_zero:
            with atomic_file(Path(trainer.default_root_dir, FILE)) as partial:
                found = {"predict/skipped_samples": len(names), "names": names}
                partial.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @staticmethod
    def _log(trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        names = skipped_over_ranks(trainer, stage)
        if names is not None and not trainer.sanity_checking:
            pl_module.log(f"{stage}/skipped_samples", float(len(names)))


def skipped_over_ranks(trainer: Trainer, stage: str) -> list[str] | None:
    """Names of the samples that all ranks have left out in a stage, sorted; None where none may be left out.

    All ranks have to ask; rank zero says how many there are.
    """
    skips: Skips | None = getattr(getattr(trainer, "datamodule", None), "skipped", None)
    if skips is None or not skips.counted:
        return None
    names = sorted({name for of_rank in gather_over_ranks(list(skips.take(stage))) for name in of_rank})
    if names:
        shown = ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
        rank_zero_warn(f"{len(names)} damaged samples were left out ({stage}): {shown}")
    return names
