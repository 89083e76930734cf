"""EvaluatedModule: tests and predictions of explainers, of the classes of each image that a run explains."""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from typing_extensions import override

from lightning_modules.explained import (
    Explain,
    explained_rows,
    first_of_each_image,
    joined_of_each_image,
    target_of,
)
from lightning_modules.measured import Measured, log_figures, measured
from lightning_modules.validated_alpha import ValidatedAlphaModule
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.explainers import Explainer
from vitrine.metrics import (
    ClassificationFaithfulness,
    Curve,
    ExplanationMetric,
    MetricOptions,
    Orthogonality,
    RegressionFaithfulness,
    metrics_for,
)

LOGITS_AT_ONCE = 64
"""Images of a pass for logits alone."""


class EvaluatedModule(ValidatedAlphaModule):
    """What testing and applying an explainer takes, whether it was trained or not.

    Args:
        explain: which classes of each image are explained, see `Explain`.
        top_k: how many with ``explain: top_k``.
        metrics: what is set of the metrics that follow from the data set's annotation.
    """

    explainer: Explainer

    def __init__(self, explain: Explain, top_k: int, metrics: MetricOptions) -> None:
        super().__init__()
        self.explain, self.top_k, self.metric_options = explain, top_k, metrics
        self.test_faithfulness = faithfulness_metrics("test")
        self.annotation_metrics = nn.ModuleList()
        self.measured = {}
        self.curves = {}

    measured: dict[str, Measured]
    """By explainer, ``""`` where there is one alone, what the last test step measured of each row."""
    curves: dict[str, Mapping[str, Curve]]
    """By explainer, the curves of the last test."""

    def rows_of(self, batch: Batch) -> Batch:
        """The images to explain, each with the one class that is explained as its ``label``, see `explained_rows`."""
        heads = list(self.explainer.explained_classes)
        return explained_rows(batch, self.explain, self.top_k, self.logits_of, heads)

    @torch.no_grad()
    def logits_of(self, images: Tensor) -> Tensor:
        """(B, C) logits of the explained network, by a pass of its own."""
        return torch.cat([self.explainer.backbone(part).logits for part in torch.split(images, LOGITS_AT_ONCE)])

    def target_of(self, rows: Batch) -> Tensor | None:
        """(R,) classes to explain, of what `rows_of` gives; None for the predictions."""
        return target_of(rows, self.explain)

    def explanation_of(self, batch: Batch) -> Explanation:
        """The explanation of what `rows_of` gives, which a test measures and a prediction shows."""
        return self.explainer.explain(batch["image"], self.target_of(batch))

    @override
    def explanations(self, batch: Batch) -> Iterator[tuple[str, Explanation, Batch]]:
        rows = self.rows_of(batch)
        yield "", self.explanation_of(rows), rows

    def test_step(self, batch: Batch) -> Explanation:  # type: ignore[override]
        """Explains a batch and measures all rows; returns, for reports, the explanation of each image's first class."""
        rows = self.rows_of(batch)
        explanation = self.explanation_of(rows)
        first = first_of_each_image(explanation, rows["key"]) if "key" in rows else explanation
        if first.logit_estimate is not None and first.explained_classes is not None:
            self.test_faithfulness.update(first.logit_estimate, first.logits, first.explained_classes)
        self.measured = {"": measured(self.annotation_metrics, explanation, rows)}
        return first

    def on_test_epoch_end(self) -> None:
        """Logs what was measured over all ranks."""
        log_figures(self, [self.test_faithfulness], prefix="")
        self.curves = {"": log_figures(self, self.annotation_metrics, prefix="test/")}

    def predict_step(self, batch: Batch) -> Any:
        """The explanation of each image of a batch, with the heatmaps of all its classes that are explained."""
        rows = self.rows_of(batch)
        explanation = self.explanation_of(rows)
        return joined_of_each_image(explanation, rows["key"], self.explainer.classes) if "key" in rows else explanation

    def log_faithfulness(self, metrics: MetricCollection) -> None:
        """Logs F_reg and F_cls at an epoch's end, on all ranks, also those that had no batch to log them in."""
        log_figures(self, [metrics], prefix="")

    @property
    def metrics_of_explainers(self) -> Mapping[str, nn.ModuleList]:
        """By explainer, whose name is empty where there is one alone, what a test measures of its heatmaps."""
        return {"": self.annotation_metrics}

    def _metrics(self, annotations: AbstractSet[str]) -> list[ExplanationMetric]:
        """What a test measures beside faithfulness, of images that have these annotations."""
        return metrics_of(self.explainer, annotations, self.metric_options_of(annotations))


def metrics_of(explainer: Explainer, annotations: AbstractSet[str], options: MetricOptions) -> list[ExplanationMetric]:
    """New metrics of an explainer's heatmaps, on images that have these annotations."""
    counts = explainer.heatmap_counts().values()
    metrics = metrics_for(annotations, same_heatmaps=bool(counts), options=options)
    return [*metrics, Orthogonality()] if max(counts, default=0) > 1 else metrics


def faithfulness_metrics(stage: str) -> MetricCollection:
    """F_reg and F_cls, named ``stage/f_reg`` and ``stage/f_cls``."""
    metrics: dict[str, Metric | MetricCollection] = {
        "f_reg": RegressionFaithfulness(),
        "f_cls": ClassificationFaithfulness(),
    }
    # The two keep sums under the same names; grouped, one would take over the other's.
    return MetricCollection(metrics, prefix=f"{stage}/", compute_groups=False)
