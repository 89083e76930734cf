"""Learning rates of the steps of small fits, and what a cosine makes of them."""

import math
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from typing_extensions import override

from tests.helpers import srae_fakes


class Rates(pl.Callback):
    """The learning rate of each step."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    @override
    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def rates(
    epochs: int, folder: Path, ckpt: Path | None = None, trainer: dict[str, Any] | None = None, **options: Any
) -> Any:
    """Learning rates of all steps of an SRAE fit of two batches an epoch, and where its checkpoints are."""
    keep, watch = srae_fakes.KeepAll(folder), Rates()
    module = srae_fakes.make_module(**options)
    settings: dict[str, Any] = {"default_root_dir": folder, **(trainer or {})}
    srae_fakes.fit(module, srae_fakes.make_batches(), epochs, keep, watch, ckpt=ckpt, **settings)
    return watch.rates, keep.kept


def cosine(share: float, rate: float = 1e-2) -> float:
    return rate * (1 + math.cos(math.pi * share)) / 2
