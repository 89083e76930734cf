"""A small fit of one line, for callbacks that look at none of what is fitted."""

import math
import os
import signal
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader


class Line(pl.LightningModule):
    """Fits y = wx, and logs what cannot be written as a JSON number."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: Tensor) -> Tensor:
        loss: Tensor = self.layer(batch).square().mean()
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Tensor) -> None:
        self.log("val/loss", self.layer(batch).square().mean())

    def test_step(self, batch: Tensor) -> None:
        self.log_dict({"test/b": math.nan, "test/a": 1.5, "test/c": math.inf}, batch_size=len(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(folder: Path, *callbacks: pl.Callback, epochs: int = 3, **options: Any) -> pl.Trainer:
    """A trainer that writes nothing of its own, in a folder."""
    given = {
        "logger": False,
        "num_sanity_val_steps": 0,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    } | options
    return pl.Trainer(
        accelerator="cpu", max_epochs=epochs, default_root_dir=folder, callbacks=list(callbacks),
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks), **given,
    )  # fmt: skip


def numbers() -> DataLoader[Tensor]:
    """Two batches of two."""
    return DataLoader(torch.ones(4, 1), batch_size=2)  # type: ignore[arg-type]


class Numbers:
    """Batches of one number each; a checkpoint keeps the place, as loaders of datamodules do."""

    def __init__(self, count: int = 3) -> None:
        self.count, self.place, self.skip = count, 0, 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Any:
        begin, self.skip = self.skip, 0
        for number in range(begin, self.count):
            self.place = number + 1
            yield torch.tensor([[float(number)]])

    def state_dict(self) -> dict[str, int]:
        return {"place": self.place % self.count}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.skip = state["place"]


class SignalAt(pl.Callback):
    """Sends this process a signal at the n-th call of a hook."""

    def __init__(self, hook: str, call: int = 1, signum: int = int(signal.SIGTERM)) -> None:
        self.calls, self.call, self.signum = 0, call, signum
        setattr(self, hook, self.send)

    def send(self, *_: object, **__: object) -> None:
        self.calls += 1
        if self.calls == self.call:
            os.kill(os.getpid(), self.signum)
