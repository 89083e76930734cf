"""MetricCallback: metrics that can be read after each batch, curves at the end, a new beginning with each test."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from callbacks.insertion_deletion import InsertionAndDeletion
from callbacks.metric_callback import MetricCallback
from callbacks.run_access import Run
from tests.callbacks.test_insertion_deletion import OPTIONS, Data
from tests.helpers.red_explainer import Module, trainer
from vitrine.metrics import Complexity, ExplanationMetric


class Entropy(MetricCallback):
    """The entropy of each map."""

    def make_metrics(self, run: Run) -> Sequence[ExplanationMetric]:  # noqa: ARG002
        return [Complexity()]


class Reads(pl.Callback):
    """Reads what the callbacks before it have measured of each batch."""

    def __init__(self) -> None:
        self.rows: dict[str, list[float]] = {}

    def on_test_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            for metric in getattr(callback, "metrics", ()):
                for name, values in metric.row_values.items():
                    self.rows.setdefault(name, []).extend(values.tolist())


def test_rows_of_each_batch_can_be_read_and_their_mean_is_logged(tmp_path: Path) -> None:
    callbacks, reads = [Entropy(), InsertionAndDeletion(**OPTIONS)], Reads()
    run = trainer(tmp_path, *callbacks, reads)
    for _ in range(2):  # a second test begins anew
        reads.rows.clear()
        run.test(Module(), datamodule=Data(), verbose=False)
        figures = {name: float(value) for name, value in run.callback_metrics.items()}
        assert set(reads.rows) == {
            "complexity",
            "insertion_deletion/insertion_auc",
            "insertion_deletion/deletion_auc",
        }
        for name, values in reads.rows.items():
            measured = [value for value in values if not math.isnan(value)]
            assert len(values) == 7
            assert 7 - len(measured) == figures["test/complexity/degenerate"] > 0
            assert figures[f"test/{name}"] == pytest.approx(sum(measured) / len(measured))
        assert callbacks[0].curves == {}
        curve = callbacks[1].curves["insertion_deletion/deletion"]
        assert list(curve.x) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
        assert float(torch.trapezoid(torch.tensor(curve.y), torch.tensor(curve.x))) == pytest.approx(
            figures["test/insertion_deletion/deletion_auc"], abs=0.01
        )  # of 64 pixels a fifth is 12


def test_needs_an_explainer(tmp_path: Path) -> None:
    module = Module()
    module.explainer = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="Entropy needs a module with an explainer on a frozen backbone"):
        trainer(tmp_path, Entropy()).test(module, datamodule=Data(), verbose=False)
