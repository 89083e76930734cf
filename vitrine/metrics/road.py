"""ROAD as a metric: a class's score as pixels are removed and imputed (Rong et al., ICML 2022)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor
from typing_extensions import override

from vitrine.core.options import NonNegative, OptionError, Options
from vitrine.metrics.base import Curve, SharedClassifier
from vitrine.metrics.functional.road import ROAD_SHARES, Order, RemovedShare, road_curve
from vitrine.metrics.row_means import MapRows, RowFigures, RowMeans

ORDERS: dict[str, Order] = {"morf": "most_relevant_first", "lerf": "least_relevant_first"}
Y_LABELS = {"probability": "probability of the class", "decision": "share still decided for the class"}


@dataclass(frozen=True)
class RoadOptions(Options):
    """How ROAD is measured.

    Args:
        shares: one or more shares of the pixels that are removed, in rising order, from 0 to below 1.
        noise: standard deviation of the noise that imputed pixels get, in units of the normalised images.
        score: ``probability`` of the class, or ``decision``: 1 where the network still decides for it, as in the paper.
        seed: of the noise.
    """

    shares: Sequence[RemovedShare] = ROAD_SHARES
    noise: NonNegative = 0.01
    score: Literal["probability", "decision"] = "probability"
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        shares = list(self.shares)
        if not shares or any(one >= other for one, other in pairwise(shares)):
            raise OptionError("shares", self.shares, "one or more numbers from 0 to below 1, in rising order")


class Road(RowMeans):
    """Mean score of the class where the most relevant pixels are removed first, where the least relevant are, and the gap.

    ``road/morf`` is the mean over the shares with the most relevant pixels removed (lower is better), ``road/lerf`` with the
    least relevant removed (higher is better), and ``road/gap`` what the second is above the first (higher is better; 0 for a
    map in random order). Removed pixels are imputed from the others, see `linear_imputation`. Degenerate maps rank no pixels:
    they are left out and counted.

    The network is no part of the metric's state: copies of the metric share it, and pickles leave it out. An image costs two
    forward passes and two imputations for each share: at 224 × 224 pixels, about 0.2 s each on a CPU core.

    Args:
        classify: maps (B, 3, H, W) images, normalised for the backbone, to (B, C) logits, such as
            ``lambda images: backbone(images).logits``; an ``nn.Module`` runs under `eval_guard`.
        options: how it is measured.

    Example:
        >>> import torch
        >>> from vitrine.core.batch import Batch
        >>> from vitrine.core.explanation import Explanation
        >>> def classify(images):  # class 1 grows with the bright spot
        ...     spot = 10 * images[..., 3:5, 3:5].mean(dim=(1, 2, 3))
        ...     return torch.stack([0 * spot, spot], dim=1)
        >>> images, label = torch.zeros(1, 3, 8, 8), torch.tensor([1])
        >>> images[..., 3:5, 3:5] = 1
        >>> explanation = Explanation(images[:, :1], torch.ones(1, 1), [["spot"]], label, label, torch.zeros(1, 2))
        >>> metric = Road(classify, RoadOptions(shares=(0.1, 0.3)))
        >>> metric.update(explanation, Batch(image=images))
        >>> round(metric.compute()["road/gap"].item(), 1)
        0.5
    """

    higher_is_better = True

    def __init__(self, classify: Callable[[Tensor], Tensor], options: RoadOptions = RoadOptions()) -> None:
        curve = Curve(
            [float(share) for share in options.shares], [], "share of pixels removed", Y_LABELS[options.score]
        )
        super().__init__(["road/morf", "road/lerf", "road/gap"], {f"road/{order}": curve for order in ORDERS})
        self.classify, self.options = SharedClassifier(classify, type(self).__name__), options

    @override
    def measure(self, rows: MapRows) -> RowFigures:
        options = self.options
        curves = {
            name: road_curve(
                self.classify,
                rows.images,
                rows.maps,
                rows.targets,
                options.shares,
                order,
                options.score,
                options.noise,
                options.seed,
                rows.keys,
                multi_label=rows.explanation.multi_label,
            )
            for name, order in ORDERS.items()
        }
        morf, lerf = (curves[name].double().mean(dim=1) for name in ORDERS)
        values = {"road/morf": morf, "road/lerf": lerf, "road/gap": lerf - morf}
        return RowFigures(values, {f"road/{name}": curve for name, curve in curves.items()})
