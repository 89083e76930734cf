"""CausalTruthOfParts: do heatmaps rank the parts of a scene as the network does when a part is removed?"""

from collections.abc import Mapping

from torch import Tensor
from typing_extensions import override

from callbacks.evaluation import EvaluationCallback
from callbacks.run_access import Run
from vitrine.core.batch import Batch
from vitrine.core.options import Share, checked
from vitrine.metrics.causal_truth import CausalTruth
from vitrine.metrics.functional.causal_truth import PartReduction


class CausalTruthOfParts(EvaluationCallback[None]):
    """Compares heatmaps with the drop of the explained class's logit where a part is removed (FunnyBirds, ICCV 2023).

    It runs beside a test on a set with counterfactuals, such as one of ``python -m vitrine.an8flower --without-parts``. It
    logs ``test/causal_truth``, the mean rank correlation over images: 1 for a map of the true drops, 0 for a random one;
    ``test/causal_truth/mass``, the share of the map's mass on parts that matter; and the numbers of images with a
    ``degenerate`` map, which score 0, and of those ``skipped`` because no part matters more than another.

    Each image costs as many further forward passes as there are parts, and one more, on the rank that tests it.

    Args:
        reduction: ``mean`` of the map over a part's pixels, or ``sum`` as in FunnyBirds.
        threshold: share of the image's largest drop from which a part matters.

    Raises:
        ValueError: for wrong options; before the run, for a module without an explainer or a set without counterfactuals.
    """

    @checked
    def __init__(self, reduction: PartReduction = "mean", threshold: Share = 0.1) -> None:
        super().__init__()
        self.reduction: PartReduction = reduction
        self.threshold = threshold
        self._metric: CausalTruth | None = None

    @override
    def check(self, run: Run) -> None:
        run.backbone_explainer()
        missing = {"counterfactuals", "objects"} - (run.datamodule.annotations if run.trainer.testing else set())
        if run.trainer.testing and missing:
            raise ValueError(
                f"{run.asker} needs a set annotated with {' and '.join(sorted(missing))}; render one with: python -m"
                " vitrine.an8flower --without-parts, or leave the callback out."
            )

    @override
    def begin(self, run: Run) -> None:
        backbone, precision = run.backbone_explainer().backbone, run.trainer.precision_plugin

        def classify(images: Tensor) -> Tensor:
            # As in the steps, so that whole images have the logits of the test.
            with precision.forward_context():
                logits: Tensor = backbone(images).logits
            return logits

        self._metric = CausalTruth(classify, self.reduction, self.threshold).to(run.module.device)

    @override
    def take(self, run: Run, batch: Batch, outputs: object) -> None:
        if self._metric is not None:
            self._metric.update(run.explanation(outputs), batch)

    @override
    def figures(self, run: Run) -> Mapping[str, Tensor]:
        metric, self._metric = self._metric, None
        return {} if metric is None else metric.compute()
