"""What a test step measured of each row, and the figures of metrics over all ranks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pytorch_lightning as pl
from torch import Tensor, nn
from torchmetrics import MetricCollection

from lightning_modules.metric_states import computed, was_updated
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics import Curve, ExplanationMetric


@dataclass(frozen=True)
class Measured:
    """What metrics measured of the rows of one batch.

    Args:
        keys: R names of the rows' images.
        targets: R explained classes.
        values: by figure, (R,) values on the CPU, NaN where a row was not measured.
    """

    keys: Sequence[str]
    targets: Sequence[int]
    values: Mapping[str, Tensor]


def measured(metrics: Iterable[nn.Module], explanation: Explanation, rows: Batch) -> Measured:
    """Updates metrics with the explanation of a batch's rows; gives what they measured of each."""
    values: dict[str, Tensor] = {}
    for metric in metrics:
        if isinstance(metric, ExplanationMetric):
            metric.update(explanation, rows)
            values |= {name: value.detach().cpu() for name, value in metric.row_values.items()}
    return Measured(rows.get("key", []), explanation.target.tolist(), values)


def log_figures(module: pl.LightningModule, metrics: Iterable[nn.Module], prefix: str) -> dict[str, Curve]:
    """Logs the figures of metrics over all ranks and resets them; gives their curves. Called on all ranks together."""
    curves: dict[str, Curve] = {}
    for metric in metrics:
        if not isinstance(metric, MetricCollection | ExplanationMetric) or not was_updated(metric):
            continue
        # Computed on all ranks together by torchmetrics, so every rank logs the same figure.
        module.log_dict({f"{prefix}{name}": value for name, value in computed(metric).items()}, rank_zero_only=True)
        if isinstance(metric, ExplanationMetric):
            with metric.sync_context():
                curves |= metric.curves()
        metric.reset()
    return curves
