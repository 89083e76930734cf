"""MetricCallback: the base of callbacks that measure every explanation of a test by metrics of their own."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence

import pytorch_lightning as pl
from torch import Tensor
from typing_extensions import override

from callbacks.evaluation import EvaluationCallback
from callbacks.run_access import Run
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.explainers import Explainer
from vitrine.explainers.map_files import MapFileExplainer
from vitrine.metrics import ExplanationMetric
from vitrine.metrics.base import Curve


class MetricCallback(EvaluationCallback[None]):
    """Updates its metrics with each batch of a test and its explanation, and logs what they compute over all ranks.

    A subclass makes the metrics. They can be read until the test's end: after each batch, ``row_values`` of each metric are
    those of the batch's rows. Its teardown drops them, as they may hold networks; the curves stay.
    """

    def __init__(self) -> None:
        super().__init__()
        self.metrics: Sequence[ExplanationMetric] = ()
        """The metrics of this test; none before it begins and after its end."""
        self.curves: Mapping[str, Curve] = {}
        """Their curves over all ranks, by name; none before the test's end."""

    @abstractmethod
    def make_metrics(self, run: Run) -> Sequence[ExplanationMetric]:
        """New metrics, of which the first batch will be the first update."""

    @override
    def check(self, run: Run) -> None:
        run.backbone_explainer()

    @override
    def begin(self, run: Run) -> None:
        self.metrics = [metric.to(run.module.device) for metric in self.make_metrics(run)]
        self.curves = {}

    @override
    def take(self, run: Run, batch: Batch, outputs: object) -> None:
        explanation = run.explanation(outputs)
        for metric in self.metrics:
            metric.update(explanation, batch)

    @override
    def figures(self, run: Run) -> Mapping[str, Tensor]:
        figures: dict[str, Tensor] = {}
        curves: dict[str, Curve] = {}
        for metric in self.metrics:
            figures |= metric.compute()
            with metric.sync_context():
                curves |= metric.curves()
        self.curves = curves
        return figures

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().teardown(trainer, pl_module, stage)
        for one in (self, *self.copies):
            one.metrics = ()


def explainer_of(run: Run) -> Explainer:
    """The explainer that is looked at, which explains images that are not the test's own.

    Raises:
        ValueError: for a module without one, and for an explainer that cannot do it.
    """
    if isinstance(run.explainer, MapFileExplainer):
        needed = "an explainer of images that are not the test's own, for which there are no files of maps"
        raise run.refusal(needed, run.explainer)
    if isinstance(run.explainer, Explainer):
        return run.explainer
    if run.explainer is None:
        raise run.refusal("a module with an explainer", run.module)
    raise run.refusal("an Explainer, which explains images again", run.explainer)


def classifier(run: Run) -> Callable[[Tensor], Tensor]:
    """The backbone's logits of images, in the precision of the test's steps, so that whole images have their figures."""
    backbone, precision = run.backbone_explainer().backbone, run.trainer.precision_plugin

    def classify(images: Tensor) -> Tensor:
        with precision.forward_context():
            logits: Tensor = backbone(images).logits
        return logits

    return classify


def explaining(run: Run, explainer: Explainer) -> Callable[[Tensor, Tensor], Explanation]:
    """An explainer's ``explain``, in the precision of the test's steps."""
    precision = run.trainer.precision_plugin

    def explain(images: Tensor, targets: Tensor) -> Explanation:
        with precision.forward_context():
            return explainer.explain(images, targets)

    return explain
