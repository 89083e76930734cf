"""CausalTruth: do heatmaps rank the parts of a scene as the network does when a part is removed?"""

from collections.abc import Mapping, Sequence

from typing_extensions import override

from callbacks.metric_callback import MetricCallback, classifier
from callbacks.run_access import Run
from vitrine.core.options import Share, checked
from vitrine.metrics import CausalTruth as CausalTruthMetric
from vitrine.metrics import ExplanationMetric
from vitrine.metrics.functional.causal_truth import PartReduction


class CausalTruth(MetricCallback):
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

    @property
    @override
    def settings(self) -> Mapping[str, str]:
        return {"causal_truth": f"{self.reduction} of the map on each part"}

    @override
    def check(self, run: Run) -> None:
        super().check(run)
        missing = {"counterfactuals", "objects"} - (run.datamodule.annotations if run.trainer.testing else set())
        if run.trainer.testing and missing:
            raise ValueError(
                f"{run.asker} needs a set annotated with {' and '.join(sorted(missing))}; render one with: python -m"
                " vitrine.an8flower --without-parts, or leave the callback out."
            )

    @override
    def make_metrics(self, run: Run) -> Sequence[ExplanationMetric]:
        return [CausalTruthMetric(classifier(run), self.reduction, self.threshold)]
