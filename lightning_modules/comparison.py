"""ComparisonModule: attribution methods and trained explainers of one network, tested in one pass over the data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_modules.heads import options_located
from lightning_modules.several import SeveralExplainersModule
from lightning_modules.untrained import UntrainedModule
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.networks import BackboneOptions
from vitrine.core.options import NonNegative, OptionError, Options
from vitrine.explainers import Explainer, load
from vitrine.explainers.attribution import AttributionExplainer, AttributionOptions
from vitrine.explainers.attribution.explainer import Reduction
from vitrine.explainers.map_files import MapFileExplainer, MapFileOptions


@dataclass(frozen=True)
class ComparedExplainer(Options):
    """One explainer of a comparison: an attribution method with its options, an exported explainer, or maps in files.

    Args:
        method: of `AttributionOptions`; null where ``folder`` is given.
        arguments: of `AttributionOptions`.
        reduction: of `AttributionOptions`.
        sigma: of `AttributionOptions`.
        folder: that an explainer of the same network was exported to, such as ``runs/quickstart/explainer``.
        maps: folder of grey pictures that another program made of the test images, each named as its image.
    """

    method: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    reduction: Reduction = "method"
    sigma: NonNegative = 0.0
    folder: str | Path | None = None
    maps: str | Path | None = None

    def made(self, network: FrozenBackbone) -> Explainer:
        """The explainer on the network that all explainers of a comparison share.

        Raises:
            OptionError: for none or several of a method, a folder and maps, and options that the method refuses.
            FileNotFoundError: where the folder holds no explainer, or no maps.
            ValueError: where it was trained on another network.
        """
        if [self.method, self.folder, self.maps].count(None) != 2:
            raise OptionError("method", self.method, "a method of vitrine.attribution, or the folder of an explainer")
        if self.maps is not None:
            return MapFileExplainer(network, MapFileOptions(self.maps))
        if self.method is None:
            return load(self.folder or "", backbone=network)
        return AttributionExplainer(
            network, AttributionOptions(self.method, self.arguments, self.reduction, self.sigma)
        )


class ComparisonModule(SeveralExplainersModule, UntrainedModule):
    """Tests and applies several explainers of one network in one pass over the data; there is nothing to fit.

    All measure the same images, whose logits are computed once for all attribution methods (exported explainers run the
    network themselves); so are the maps of a method that several explainers read in other ways, by another ``reduction`` or
    ``sigma``. Methods whose rules are decided in the backward pass share one forward pass (see `attribute_together`). A test
    logs ``test/NAME/FIGURE`` of each, writes what a test of one explainer writes into the run's
    ``explainers/NAME``, and a table of all of them (``compare.csv``, ``.md``, ``.html``).

    Args:
        backbone: the classifier to be explained.
        explainers: by name, which becomes a folder's, attribution methods and exported explainers.
        kwargs: those of `ExplainerModule`: class_map, explain, top_k, metrics; nothing here is optimised.

    Raises:
        ValueError: without an explainer, and for names that are no folder's.
    """

    untrained = "A comparison of explainers"

    def __init__(self, backbone: BackboneOptions, explainers: dict[str, ComparedExplainer], **kwargs: Any) -> None:
        network = FrozenBackbone.from_options(backbone)
        made: dict[str, Explainer] = {}
        for name, entry in explainers.items():
            with options_located(f"model.init_args.explainers.{name}"):
                made[name] = entry.made(network)
        super().__init__(made, **kwargs)
