"""InsertionAndDeletion: how much of a class's probability the pixels carry that heatmaps point out."""

from collections.abc import Mapping, Sequence

from typing_extensions import override

from callbacks.metric_callback import MetricCallback, classifier
from callbacks.run_access import Run
from vitrine.core.options import Count, NonNegative, checked
from vitrine.metrics import ExplanationMetric, InsertionDeletion


class InsertionAndDeletion(MetricCallback):
    """Inserts and deletes pixels by their saliency, and measures the explained class (Petsiuk et al., BMVC 2018).

    It runs beside a test, on every image and its explanation. It logs ``test/insertion_deletion/insertion_auc``, the mean
    area under the probability of the class as pixels come into the blurred image (higher is better);
    ``test/insertion_deletion/deletion_auc``, that as they give way to the mean colour (lower is better); and
    ``test/insertion_deletion/degenerate``, the number of images left out because their map gives no order of pixels.

    Each image costs 2 · (``steps`` + 1) further forward passes, on the rank that tests it.

    Args:
        steps: How many groups of as many pixels come or go one after the other.
        blur: σ in pixels of the Gaussian that blurs the image for insertion.

    Raises:
        ValueError: For steps below 1 or a negative blur; before the run, for a module without an explainer.
    """

    @checked
    def __init__(self, steps: Count = 50, blur: NonNegative = 11.0) -> None:
        super().__init__()
        self.steps, self.blur = steps, blur

    @property
    @override
    def settings(self) -> Mapping[str, str]:
        return {"insertion_deletion": f"{self.steps} steps, blur of {self.blur:g} px"}

    @override
    def make_metrics(self, run: Run) -> Sequence[ExplanationMetric]:
        return [InsertionDeletion(classifier(run), self.steps, self.blur)]
