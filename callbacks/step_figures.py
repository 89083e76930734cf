"""Figures beside the progress of a run: losses of a step or an epoch in a line, and images a second over all ranks."""

import math
import time
from collections.abc import Mapping, Sized
from typing import Any

import pytorch_lightning as pl

from vitrine.core.figures import better_of

MOST = 5
"""So many figures of a part are shown."""
LOSSES = ("loss", "squared_error")
"""Figures of training that are shown first."""


def step_line(module: pl.LightningModule) -> str:
    """The losses of the last training step on this rank; waits for its device."""
    means: Mapping[str, Any] = getattr(module, "step_means", {})
    return line_of({name: float(value) for name, value in list(means.items())[:MOST]})


def epoch_line(trainer: pl.Trainer) -> str:
    """The losses of the last epoch, and the figures of training and validation that have a better side."""
    # Computed on all ranks by now, see `EpochMetrics`.
    values = {name: float(value) for name, value in trainer.callback_metrics.items()}
    training, validation = (_line_of_part(values, part) for part in ("train/", "val/"))
    return "  ".join(filter(None, (training, validation and f"| val {validation}")))


def _line_of_part(values: Mapping[str, float], part: str) -> str:
    names = [name.removeprefix(part) for name in values if name.startswith(part)]
    shown = [*filter(LOSSES.__contains__, names), *filter(better_of, names)]
    return line_of({name: values[f"{part}{name}"] for name in shown[:MOST]})


def line_of(figures: Mapping[str, float]) -> str:
    """Names without their part, and values.

    Example:
        >>> line_of({"train/loss": 0.123456, "train/loss/faithfulness": 100.0})
        'loss 0.1235  faithfulness 100'
    """
    return "  ".join(f"{name.rpartition('/')[2]} {value:.4g}" for name, value in figures.items())


def epochs_of(trainer: pl.Trainer, module: pl.LightningModule) -> int:
    """How many epochs bound a fit: one, of a module that solves its problem after it; 0 where others do."""
    return 1 if getattr(module, "one_pass", False) else max(trainer.max_epochs or 0, 0)


def rows(batch: object) -> int:
    """Number of samples in a batch; 0 where it does not say."""
    entries = batch if isinstance(batch, Mapping) else {}
    sized = next((entries[name] for name in ("key", "features", "label", "image") if name in entries), ())
    return len(sized) if isinstance(sized, Sized) else 0


class ImageRate:
    """Images a second over all ranks, which have equal shares; over the last seconds.

    Args:
        seconds: that are looked back at least.
    """

    def __init__(self, seconds: float = 2.0) -> None:
        self.seconds = seconds
        self.restart()

    def restart(self) -> None:
        """Begins anew, such as for an epoch."""
        self._since, self._images, self._rate = time.monotonic(), 0, math.nan

    def add(self, batch: object, ranks: int) -> None:
        """Counts a batch of this rank that is done."""
        self._images += rows(batch) * ranks
        passed = time.monotonic() - self._since
        if passed >= self.seconds or math.isnan(self._rate):
            self._rate = self._images / max(passed, 1e-9)
        if passed >= self.seconds:
            self._since, self._images = time.monotonic(), 0

    def __str__(self) -> str:
        return "" if math.isnan(self._rate) or not self._rate else f"{self._rate:,.0f} images/s"
