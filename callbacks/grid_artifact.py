"""GridArtifact: how much of a grid, as strided operators leave it, is in heatmaps."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torchmetrics import MeanMetric, SumMetric
from typing_extensions import override

from callbacks.evaluation import EvaluationCallback
from callbacks.run_access import Run
from vitrine.core.batch import Batch
from vitrine.core.image_ops import degenerate
from vitrine.core.options import OptionError, checked
from vitrine.metrics.grid import GridStride, grid_contrast, grid_share

MEASURES = {"share": grid_share, "contrast": grid_contrast}


class GridArtifact(EvaluationCallback[None]):
    """Measures the grid in heatmaps (section 4.2 and figures 2 and 7 of Oramas et al., ICLR 2019).

    It runs beside a test, on every valid heatmap of each image. For each period p it logs ``test/grid/share_p``, the mean
    share of a heatmap's spectral power at the multiples of 1/p, and ``test/grid/contrast_p``, the geometric mean of that
    power over that just beside, which tells a grid from what an image has of its own at these frequencies: about 1 without a
    grid. Degenerate heatmaps are left out, and so are those whose measure is not finite, as where there is no power beside
    the grid; their numbers are ``test/grid/degenerate`` and ``test/grid/undefined``.

    Args:
        periods: Of the grid in pixels of the network's input, such as the stride of a lower layer.

    Raises:
        ValueError: Without a period; before the run, for a module without an explainer.
    """

    @checked
    def __init__(self, periods: Sequence[GridStride] = (2,)) -> None:
        super().__init__()
        if not periods or len(set(periods)) < len(periods):
            raise OptionError("periods", tuple(periods), "one or more different numbers of pixels")
        self.periods = periods
        self._means: Mapping[str, MeanMetric] = {}
        self._counts: Mapping[str, SumMetric] = {}

    @property
    @override
    def settings(self) -> Mapping[str, str]:
        return {"grid": f"periods of {', '.join(map(str, self.periods))} px"}

    @override
    def check(self, run: Run) -> None:
        run.backbone_explainer()

    @override
    def begin(self, run: Run) -> None:
        names = [f"{name}_{period}" for period in self.periods for name in MEASURES]
        self._means = {name: MeanMetric().to(run.module.device) for name in names}
        self._counts = {name: SumMetric().to(run.module.device) for name in ("degenerate", "undefined")}

    @override
    def take(self, run: Run, batch: Batch, outputs: object) -> None:
        explanation = run.explanation(outputs)
        maps = explanation.heatmaps[explanation.valid].detach()
        if not len(maps):
            return
        is_degenerate = degenerate(maps)
        undefined = torch.zeros_like(is_degenerate)
        for period in self.periods:
            for name, measure in MEASURES.items():
                values = measure(maps, period)
                values = values.log() if name == "contrast" else values
                self._means[f"{name}_{period}"].update(values[values.isfinite()].float())
                undefined |= ~values.isfinite() & ~is_degenerate
        self._counts["degenerate"].update(is_degenerate.sum())
        self._counts["undefined"].update(undefined.sum())

    @override
    def figures(self, run: Run) -> Mapping[str, Tensor | float]:
        means = {name: metric.compute() for name, metric in self._means.items()}
        counts = {f"grid/{name}": metric.compute() for name, metric in self._counts.items()}
        self._means, self._counts = {}, {}
        measured = {f"grid/{name}": mean.exp() if name.startswith("contrast") else mean for name, mean in means.items()}
        return {**measured, **counts}
