"""What is compared, and with which settings."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch.optim import Adam, Optimizer


def adam(lr: float) -> Callable[[Iterable[Any]], Optimizer]:
    """Adam with another learning rate than modules have by default."""
    return lambda parameters: Adam(parameters, lr=lr, fused=True)


@dataclass(frozen=True)
class Layers:
    """Where a network is tapped."""

    features: str
    """Z: the last activations before the classifier."""
    logits: str
    """The layer that gives the logits."""


LAYERS = {
    "mobilenet_v2": Layers("features", "classifier.1"),
    "squeezenet1_0": Layers("features.12", "classifier.3"),
}


@dataclass(frozen=True)
class Approach:
    """A row of the table.

    Args:
        title: as the table names it.
        module: class of the LightningModule.
        options: of the module, beside backbone and layer.
        tuned: options by network, where they differ: `benchmarks.cub.tuning` chose them on training images alone.
        on_logits: whether Z is the layer that gives the logits.
        seeded: whether it depends on a seed.
        masked: whether images are masked by its heatmaps.
        epochs: of its fit, in place of the common ones.
        fit_of: the approach whose fit is drawn with other options, in place of a fit of its own.
    """

    title: str
    module: str
    options: Mapping[str, Any] = field(default_factory=dict)
    tuned: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    on_logits: bool = False
    seeded: bool = True
    masked: bool = False
    epochs: int | None = None
    fit_of: str | None = None


APPROACHES: dict[str, Approach] = {
    "srae": Approach("SRAE", "SRAEModule", {"objective": "srae"}, {"squeezenet1_0": {"beta": 20.0}}, masked=True),
    "nn": Approach("NN", "SRAEModule", {"objective": "nn"}),
    "sae": Approach("SAE", "SRAEModule", {"objective": "sae", "beta": 1.0}, {"squeezenet1_0": {"beta": 0.2}}),
    "lasso": Approach("Lasso", "SelectedFeaturesModule", {"kind": "lasso"}, seeded=False),
    "cae": Approach("CAE", "SRAEModule", {"objective": "cae"}),
    "z": Approach("Z", "SelectedFeaturesModule", {"kind": "random", "num_features": 10}, seeded=False),
    "ebp": Approach("EBP", "SelectedFeaturesModule", {"kind": "logit"}, on_logits=True, seeded=False, masked=True),
    "firing": Approach("SRAE, firing alone", "SRAEModule", {"draw_inactive": False}, masked=True, fit_of="srae"),
    "firing_nn": Approach("NN, firing alone", "SRAEModule", {"objective": "nn", "draw_inactive": False}, fit_of="nn"),
    "positions": Approach(
        "SRAE, positions",
        "SRAEModule",
        {"objective": "srae", "pooling": "positions", "hidden": (50,), "eta": 2.0, "optimizer": adam(3e-3)},
        masked=True,
        epochs=40,
    ),
}
"""The paper's rows, and three of ours. The paper does not say what an x-feature shows that is 0 on an image; its rows draw
what would excite it."""

LASSO_ALPHAS = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02)
