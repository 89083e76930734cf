"""A clock for runs of ``train.py test``: of the whole, of each callback and metric, and of runs that only explain."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.profilers import PassThroughProfiler, SimpleProfiler
from typing_extensions import override

from lightning_modules.evaluated import EvaluatedModule
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.data.contracts import ExplanationData
from vitrine.explainers.srae.x_features import logit_maps
from vitrine.metrics.masked_accuracy import GAMMAS

ALL, EXPLAINED, NETWORK = "a whole test", "explaining", "explaining, and all else that the network runs for"
WAYS = (ALL, EXPLAINED, NETWORK)
PANEL, PER_CLASS = 8, 4
"""Images of the panel, and of the gallery for each class."""


class Clock(pl.Callback):
    """Takes the time from a run's setup to its end, and of each callback and metric in it.

    Args:
        way: one of `WAYS`; in all but a whole test, test steps explain and measure nothing.
    """

    def __init__(self, way: str) -> None:
        self.way = way
        self.run = 0.0
        """Seconds of the run."""
        self.parts: dict[str, float] = {}
        """Seconds of each callback and metric."""

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if isinstance(pl_module, EvaluatedModule) and self.way != ALL:
            passes = len(GAMMAS) if self.way == NETWORK else 0
            pl_module.test_step = partial(explain_alone, pl_module, passes)  # type: ignore[method-assign]
            pl_module.on_test_epoch_end = nothing  # type: ignore[method-assign]
        trainer.profiler = SimpleProfiler()  # type: ignore[attr-defined]
        self._began = time.perf_counter()

    @override
    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for metric in getattr(pl_module, "annotation_metrics", ()):
            metric.update = self._timed(f"metric {type(metric).__name__}", metric.update)

    @override
    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if isinstance(pl_module, EvaluatedModule) and self.way == NETWORK:
            explain_what_is_shown(pl_module, trainer.datamodule)  # type: ignore[attr-defined]

    def _timed(self, name: str, function: Callable[..., object]) -> Callable[..., None]:
        def timed(*args: object) -> None:
            began = time.perf_counter()
            function(*args)
            self._add(name, time.perf_counter() - began)

        return timed

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.run = time.perf_counter() - self._began
        for action, seconds in trainer.profiler.recorded_durations.items():  # type: ignore[attr-defined]
            if action.startswith("[Callback]"):
                name = action.removeprefix("[Callback]").partition(".")[0].partition("{")[0]
                self._add(f"callback {name}", sum(seconds))
        trainer.profiler = PassThroughProfiler()  # type: ignore[attr-defined]  # prints nothing

    def _add(self, name: str, seconds: float) -> None:
        self.parts[name] = self.parts.get(name, 0.0) + seconds


def explain_alone(module: EvaluatedModule, passes: int, batch: Batch) -> Explanation:
    """A test step that explains a batch, passes its images so many times more through the network, and measures nothing."""
    rows = module.rows_of(batch)
    for _ in range(passes):
        module.logits_of(rows["image"])
    return module.explanation_of(rows)


def explain_what_is_shown(module: EvaluatedModule, data: ExplanationData) -> None:
    """Explains as many images as a panel shows, and draws the logit of these and of those of a gallery."""
    explainer: Any = module.explainer
    images = data.panel(PANEL)["image"]
    logit_maps(explainer, images, explainer.explain(images).target)
    shown = data.panel(PER_CLASS * len(data.classes))["image"]
    logit_maps(explainer, shown, module.logits_of(shown).argmax(dim=1))


def nothing() -> None:
    """In place of figures."""
