"""TwoObjects: whether heatmaps of two classes tell two objects apart that stand side by side."""

from collections.abc import Mapping

import torch
from torch import Tensor
from typing_extensions import override

from callbacks.evaluation import EvaluationCallback
from callbacks.metric_callback import classifier, explainer_of, explaining
from callbacks.run_access import Run
from vitrine.core.batch import Batch
from vitrine.core.options import Count, CountOrZero, checked
from vitrine.metrics.two_objects import Canvas, canvases
from vitrine.metrics.two_objects import TwoObjects as TwoObjectsMetric


class TwoObjects(EvaluationCallback[None]):
    """Explains two classes of images that are made of two test images (section 4.1.2 of Du et al., KDD 2018).

    It runs beside a test. Images whose explained class the network predicts are put side by side with the next such image of
    another class in the batch; a pair counts if both classes are among the ``top`` of the pair's logits. It logs
    ``test/two_objects/own_half``, ``maximum``, ``in_order`` and ``correlation`` (`vitrine.metrics.two_objects.TwoObjects`),
    and the numbers of ``pairs`` and ``degenerate`` maps. Which images meet depends on the batches, and so on their size and
    the number of ranks.

    Args:
        canvas: Whether images are ``squashed`` to half of their width or ``cropped``.
        top: How many of the highest logits have to hold both classes; 0 for no such demand.
        count: Pairs on each rank; the first ones.

    Raises:
        ValueError: Before the run, for a module without an explainer.
    """

    @checked
    def __init__(self, canvas: Canvas = "squashed", top: CountOrZero = 5, count: Count = 50) -> None:
        super().__init__()
        self.canvas: Canvas = canvas
        self.top, self.count = top, count
        self._metric: TwoObjectsMetric | None = None
        self._left = 0

    @override
    def check(self, run: Run) -> None:
        explainer_of(run)

    @override
    def begin(self, run: Run) -> None:
        self._metric, self._left = TwoObjectsMetric().to(run.module.device), self.count

    @override
    def take(self, run: Run, batch: Batch, outputs: object) -> None:
        explanation = run.explanation(outputs)
        recognised = (explanation.target == explanation.prediction).nonzero().squeeze(1).tolist()
        pairs = paired(recognised, explanation.target.tolist())[: self._left]
        if not pairs or self._metric is None:
            return
        rows = torch.tensor(pairs)
        left, right = (batch["image"][rows[:, side]] for side in (0, 1))
        images = canvases(left, right, self.canvas)
        classes = explanation.target[rows].to(images.device)
        if self.top:
            logits = classifier(run)(images)
            seen = logits.topk(min(self.top, logits.shape[1]), dim=1).indices
            kept = (seen[:, None] == classes[:, :, None]).any(dim=2).all(dim=1)
            images, classes = images[kept], classes[kept]
        self._left -= len(images)
        if len(images):
            explain = explaining(run, explainer_of(run))
            both = explain(images.repeat_interleave(2, dim=0), classes.flatten()).aggregate()
            self._metric.update(both.view(len(images), 2, *images.shape[2:]))

    @override
    def figures(self, run: Run) -> Mapping[str, Tensor]:
        metric, self._metric = self._metric, None
        return {} if metric is None else metric.compute()


def paired(rows: list[int], classes: list[int]) -> list[tuple[int, int]]:
    """Rows two by two, each with the next one of another class.

    Example:
        >>> paired([0, 2, 3, 5], [7, 0, 7, 4, 0, 4])
        [(2, 3)]
    """
    found: list[tuple[int, int]] = []
    waiting: int | None = None
    for row in rows:
        if waiting is None or classes[waiting] == classes[row]:
            waiting = row
            continue
        found.append((waiting, row))
        waiting = None
    return found
