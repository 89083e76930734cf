"""BoxOcclusion: how fast a network's confidence falls as patches cover what its heatmaps show."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from typing_extensions import override

from callbacks.evaluation import EvaluationCallback
from callbacks.run_access import Run
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.core.options import Count, OptionError, Share, checked
from vitrine.metrics.base import Curve
from vitrine.metrics.box_occlusion import SHARES, box_occlusion
from vitrine.metrics.box_occlusion import BoxOcclusion as BoxOcclusionMetric


class BoxOcclusion(EvaluationCallback[None]):
    """Covers images by patches drawn from their heatmaps (section 4.2 of Oramas et al., ICLR 2019).

    It runs beside a test, on every image and its aggregated heatmap. It logs ``test/box_occlusion/drop``, by how much the
    probability of the explained class falls on average over the covered shares (higher is better);
    ``test/box_occlusion/last_drop``, that at the last share; ``test/box_occlusion/area``, the area under the probability over
    the share, divided by the last share (lower is better); and ``test/box_occlusion/degenerate``, the number of images left
    out because their map is not finite. ``curves`` has the probability over the share. With ``with_random``, each image is
    also covered at random places, which is what covering alone does: ``test/box_occlusion/random_drop`` and a curve.

    Where patches are laid depends on ``seed`` and the image's key alone. Each image costs ``len(shares)`` further forward
    passes, on the rank that tests it; twice as many with ``with_random``.

    Args:
        patch_size: Side of a patch in pixels of the network's input.
        shares: Of the image that are covered one after the other, in rising order; the first is 0.
        seed: Of the draws.
        with_random: Whether patches are also laid at random.

    Raises:
        ValueError: For other options; before the run, for a module without an explainer.
    """

    @checked
    def __init__(
        self, patch_size: Count = 16, shares: Sequence[Share] = SHARES, seed: int = 0, with_random: bool = False
    ) -> None:
        super().__init__()
        BoxOcclusionMetric(shares)  # which checks them
        if sorted(set(shares)) != list(shares):
            raise OptionError("shares", tuple(shares), "numbers from 0 to 1 in rising order, of which the first is 0")
        self.patch_size, self.shares, self.seed, self.with_random = patch_size, shares, seed, with_random
        self.metrics: Sequence[BoxOcclusionMetric] = ()
        self._at_random = BoxOcclusionMetric(shares)
        self.curves: Mapping[str, Curve] = {}
        self._network: nn.Module | None = None

    @property
    @override
    def settings(self) -> Mapping[str, str]:
        return {"box_occlusion": f"patches of {self.patch_size} px over up to {100 * self.shares[-1]:g} % of the image"}

    @override
    def check(self, run: Run) -> None:
        run.backbone_explainer()

    @override
    def begin(self, run: Run) -> None:
        self._network = _Logits(run)
        self.metrics = (BoxOcclusionMetric(self.shares).to(run.module.device),)
        self._at_random = BoxOcclusionMetric(self.shares).to(run.module.device)

    @override
    def take(self, run: Run, batch: Batch, outputs: object) -> None:
        explanation = run.explanation(outputs)
        maps = explanation.aggregate()[:, 0]
        self.metrics[0].update(self._confidence(batch, explanation, maps))
        if self.with_random:
            self._at_random.update(self._confidence(batch, explanation, torch.ones_like(maps)))

    def _confidence(self, batch: Batch, explanation: Explanation, maps: Tensor) -> Tensor:
        if self._network is None:
            raise RuntimeError("BoxOcclusion was given a batch before a test began.")
        return box_occlusion(
            self._network,
            batch["image"],
            maps,
            explanation.target,
            self.patch_size,
            self.shares,
            seed=self.seed,
            keys=batch["key"],
            multi_label=explanation.multi_label,
        )

    @override
    def figures(self, run: Run) -> Mapping[str, Tensor]:
        (metric,) = self.metrics
        figures = metric.compute()
        self.curves = curves_of(metric)
        self.metrics, self._network = (), None
        x, y = (torch.tensor(values, dtype=torch.float64) for values in (self.shares, self.curves["box_occlusion"].y))
        figures["box_occlusion/area"] = (torch.trapezoid(y, x) / x[-1]).float()
        if self.with_random:
            figures["box_occlusion/random_drop"] = self._at_random.compute()["box_occlusion/drop"]
            self.curves = {**self.curves, "box_occlusion/random": curves_of(self._at_random)["box_occlusion"]}
        return figures


def curves_of(metric: BoxOcclusionMetric) -> Mapping[str, Curve]:
    """Its curves over all ranks, which all of them ask for together."""
    with metric.sync_context():
        return metric.curves()


class _Logits(nn.Module):
    """A run's network in the trainer's precision, so that whole images have the probabilities of the test."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.backbone, self.precision = run.backbone_explainer().backbone, run.trainer.precision_plugin

    @override
    def forward(self, images: Tensor) -> Tensor:
        with self.precision.forward_context():
            logits: Tensor = self.backbone(images).logits
        return logits
