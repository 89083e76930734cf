"""InsertionAndDeletion: how much of a class's probability the pixels carry that heatmaps point out."""

from collections.abc import Mapping

from torch import Tensor
from typing_extensions import override

from callbacks.evaluation import EvaluationCallback
from callbacks.run_access import Run
from vitrine.core.batch import Batch
from vitrine.core.options import Count, NonNegative, checked
from vitrine.metrics.insertion_deletion import InsertionDeletion


class InsertionAndDeletion(EvaluationCallback[None]):
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
        self._metric: InsertionDeletion | None = None

    @override
    def check(self, run: Run) -> None:
        run.backbone_explainer()

    @override
    def begin(self, run: Run) -> None:
        backbone, precision = run.backbone_explainer().backbone, run.trainer.precision_plugin

        def classify(images: Tensor) -> Tensor:
            # As in the steps, so that whole images have the probabilities of the test.
            with precision.forward_context():
                logits: Tensor = backbone(images).logits
            return logits

        self._metric = InsertionDeletion(classify, self.steps, self.blur).to(run.module.device)

    @override
    def take(self, run: Run, batch: Batch, outputs: object) -> None:
        if self._metric is not None:
            self._metric.update(run.explanation(outputs), batch)

    @override
    def figures(self, run: Run) -> Mapping[str, Tensor]:
        metric, self._metric = self._metric, None
        return {} if metric is None else metric.compute()
