"""Sparse reconstruction autoencoders, SRAE: a few x-features a class (Qi, Khorram and Li 2018)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.options import Count
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers.srae.heads import SeparateHeads, SharedHeads
from vitrine.explainers.srae.x_features import XFeatureExplainer, XFeatureOptions

TRUNKS: dict[str, type[SeparateHeads] | type[SharedHeads]] = {"separate": SeparateHeads, "shared": SharedHeads}


@dataclass(frozen=True)
class SRAEOptions(XFeatureOptions):
    """What is explained by SRAE, how it is drawn, and the heads' sizes.

    Args:
        layer: as in `XFeatureOptions`, as all others that are not named here.
        hidden: widths of the encoder between Z and the x-features.
        trunk: ``separate`` heads, as in the paper, or heads on one ``shared`` encoder, see `SharedHeads`.
        decoder: whether heads have decoders, which only training reads; SRAEModule sets it by its objective.
    """

    hidden: Sequence[Count] = (800, 100)
    trunk: Literal["separate", "shared"] = "separate"
    decoder: bool = True


class SRAEExplainer(XFeatureExplainer):
    """SRAE heads for chosen classes: encoder, decoder and linear predictor (section 2.3 of the paper).

    Args:
        backbone: as in `XFeatureExplainer`.
        options: what is explained, how it is drawn, and the heads' sizes.
        classes: as in `XFeatureExplainer`.
        preprocessing: as in `XFeatureExplainer`.
    """

    options_type = SRAEOptions
    options: SRAEOptions

    def __init__(
        self,
        backbone: FrozenBackbone,
        options: SRAEOptions,
        classes: Sequence[str] | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__(backbone, options, classes, preprocessing)
        self.heads: SeparateHeads | SharedHeads = TRUNKS[options.trunk](
            len(self.explained_classes),
            self.width,
            options.num_features,
            options.hidden,
            decoder=options.decoder,
            positions=self.positions,
        )
