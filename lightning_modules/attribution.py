"""AttributionModule: attribution methods, which need no training, tested and applied like explainers that do."""

from typing import Any

from lightning_modules.heads import options_located
from lightning_modules.untrained import UntrainedModule
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.networks import BackboneOptions
from vitrine.explainers.attribution import AttributionExplainer, AttributionOptions


class AttributionModule(UntrainedModule):
    """Explains images by an attribution method while it validates, tests and predicts; there is nothing to fit.

    A test measures and writes what it does for trained explainers, so that ``python -m vitrine.compare`` compares them.

    Args:
        backbone: the classifier to be explained.
        attribution: which method, and how its maps are read.
        kwargs: those of `ExplainerModule`: class_map, explain, top_k, metrics; nothing here is optimised.
    """

    explainer: AttributionExplainer
    untrained = "An attribution method"

    def __init__(
        self,
        backbone: BackboneOptions,
        attribution: AttributionOptions = AttributionOptions(),  # noqa: B008 - frozen
        **kwargs: Any,
    ) -> None:
        network = FrozenBackbone.from_options(backbone)
        with options_located("model.init_args.attribution"):
            explainer = AttributionExplainer(network, attribution)
        super().__init__(explainer, **kwargs)
