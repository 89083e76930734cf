"""What a first look at inversion masks takes: the explainer as it is made without options, and the paper's 80 steps."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from benchmarks.common import machine, show
from benchmarks.inversion.timing import speed, timed
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.explanation import Explanation
from vitrine.explainers import InversionExplainer
from vitrine.explainers.inversion.cost import seconds_per_mask
from vitrine.explainers.inversion.explainer import InversionOptions

DEFAULT, PAPER = "without options", "variant paper"


def first_use(network: str, model: nn.Module, images: Tensor, rounds: int, device: str) -> list[dict[str, Any]]:
    """One row a way, of seconds an image; of the paper's also what is said beforehand."""
    side = images.shape[-1]
    explainers = {
        way: InversionExplainer(FrozenBackbone(model), options)
        for way, options in {
            DEFAULT: InversionOptions(image_size=side),
            PAPER: InversionOptions(variant="paper", image_size=side),
        }.items()
    }
    runs = {way: _run(explainer, images) for way, explainer in explainers.items()}
    foretold = {way: seconds_per_mask(explainer, images) for way, explainer in explainers.items()}
    timings = timed(runs, len(images), rounds, device, network)
    return [
        {"way": way, "seconds": timing.seconds, "median": timing.median, "speed": speed(timings, way, PAPER)}
        | {"foretold": foretold[way]}
        for way, timing in timings.items()
    ]


def _run(explainer: InversionExplainer, images: Tensor) -> Callable[[], Explanation]:
    return lambda: explainer.explain(images)


def show_first_use(network: str, rows: list[dict[str, Any]]) -> None:
    """What was measured."""
    cells = [
        [
            row["way"],
            f"{row['median']:.3f}",
            f"{row['speed']:.0f}×",
            f"{row['foretold']:.3f}" if row["foretold"] else "–",
        ]
        for row in rows
    ]
    show(f"{network} ({machine()})", ["", "s an image", f"over {PAPER}", "foretold"], cells)
