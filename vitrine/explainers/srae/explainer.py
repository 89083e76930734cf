"""Sparse reconstruction autoencoder heads: a few x-features a class (Qi, Khorram and Li 2018)."""

from collections.abc import Sequence
from typing import Any

from typing_extensions import override

from vitrine.backbones.frozen import FrozenBackbone
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers.srae.heads import SeparateHeads, SharedHeads
from vitrine.explainers.srae.x_features import XFeatureExplainer, check_sizes

TRUNKS: dict[str, type[SeparateHeads] | type[SharedHeads]] = {"separate": SeparateHeads, "shared": SharedHeads}


class SRAEExplainer(XFeatureExplainer):
    """SRAE heads for chosen classes: encoder, decoder and linear predictor (section 2.3 of the paper).

    Args:
        backbone: as in `XFeatureExplainer`.
        layer: as in `XFeatureExplainer`.
        classes: as in `XFeatureExplainer`.
        preprocessing: as in `XFeatureExplainer`.
        explained_classes: as in `XFeatureExplainer`.
        num_features: n, heatmaps a class.
        hidden: widths of the encoder between Z and the x-features.
        trunk: ``separate`` heads, as in the paper, or heads on one ``shared`` encoder, see `SharedHeads`.
        decoder: whether heads have decoders, which only training reads.
        pooling: as in `XFeatureExplainer`.
        contrastive: as in `XFeatureExplainer`.
        negative_activations: as in `XFeatureExplainer`.
        draw_inactive: as in `XFeatureExplainer`.
        image_size: as in `XFeatureExplainer`.
    """

    def __init__(
        self,
        backbone: FrozenBackbone,
        layer: str,
        classes: Sequence[str] | None = None,
        preprocessing: Preprocessing | None = None,
        explained_classes: Sequence[int] | None = None,
        num_features: int = 5,
        hidden: Sequence[int] = (800, 100),
        trunk: str = "separate",
        decoder: bool = True,
        pooling: str = "average",
        contrastive: bool = True,
        negative_activations: str = "clamp",
        draw_inactive: bool = False,
        image_size: int = 224,
    ) -> None:
        super().__init__(
            backbone,
            layer,
            classes,
            preprocessing,
            explained_classes,
            pooling,
            contrastive,
            negative_activations,
            draw_inactive,
            image_size,
        )
        if trunk not in TRUNKS:
            raise ValueError(f"trunk {trunk!r} is unknown; choose one of {', '.join(TRUNKS)}.")
        check_sizes(num_features, hidden)
        self.hidden = tuple(hidden)
        self.trunk = trunk
        self.decoder = decoder
        self.heads: SeparateHeads | SharedHeads = TRUNKS[trunk](
            len(self.explained_classes),
            self.width,
            num_features,
            hidden,
            decoder=decoder,
            positions=self.positions,
        )

    @override
    def options(self) -> dict[str, Any]:
        own = {
            "num_features": self.num_features,
            "hidden": list(self.hidden),
            "trunk": self.trunk,
            "decoder": self.decoder,
        }
        return super().options() | own
