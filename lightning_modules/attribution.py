"""AttributionModule: attribution methods, which need no training, tested and applied like explainers that do."""

from typing import Any

from typing_extensions import override

from lightning_modules.base import ExplainerModule
from lightning_modules.heads import options_located
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.networks import BackboneOptions
from vitrine.core.batch import Batch
from vitrine.explainers.attribution import AttributionExplainer, AttributionOptions


class AttributionModule(ExplainerModule):
    """Explains images by an attribution method while it validates, tests and predicts; there is nothing to fit.

    A test measures and writes what it does for trained explainers, so that ``python -m vitrine.compare`` compares them.

    Args:
        backbone: the classifier to be explained.
        attribution: which method, and how its maps are read.
        kwargs: those of `ExplainerModule`: class_map, explain, top_k, metrics; nothing here is optimised.
    """

    explainer: AttributionExplainer

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
        self.needs_checkpoint = False

    @override
    def setup(self, stage: str) -> None:
        """Also refuses a fit of nothing.

        Raises:
            ValueError: for ``fit``.
        """
        if stage == "fit":
            refuse_fit(self.explainer.options.method)
        super().setup(stage)

    @property
    @override
    def needs_labels(self) -> bool:
        return False

    @property
    @override
    def explains_in_validation(self) -> bool:
        return True  # so that what does not work shows before a test

    def validation_step(self, batch: Batch) -> None:
        """Images are explained after it."""


def refuse_fit(what: str) -> None:
    """Raises ValueError, as there is nothing to fit."""
    raise ValueError(
        f"{what} needs no training, so that there is nothing to fit; run train.py test or train.py predict."
    )
