"""Sparse reconstruction autoencoders, SRAE: a few x-features a class (Qi, Khorram and Li 2018)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from typing_extensions import override

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

    Example:
        >>> SRAEOptions(layer="layer4", hidden=[64, 16]).num_features
        5
        >>> SRAEOptions(layer="layer4", num_features=0)
        Traceback (most recent call last):
        vitrine.core.options.OptionError: num_features is 0; give 1 or more.
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

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from vitrine.backbones import FrozenBackbone
        >>> features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        >>> model = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
        >>> options = SRAEOptions(layer="0", num_features=2, hidden=[6], image_size=16)
        >>> explainer = SRAEExplainer(FrozenBackbone(model), options, classes=["ant", "bee", "cat", "dog"])
        >>> explanation = explainer.explain(torch.rand(5, 3, 16, 16), target=1)
        >>> explanation.heatmaps.shape, explanation.scores.shape
        (torch.Size([5, 2, 16, 16]), torch.Size([5, 2]))
        >>> explanation.labels[0]
        ['x-feature 1', 'x-feature 2']
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
        self.heads: SeparateHeads | SharedHeads = self.make_heads()

    @override
    def make_heads(self) -> SeparateHeads | SharedHeads:
        # A shared trunk without a class would have layers of no outputs.
        trunk = TRUNKS[self.options.trunk] if self.explained_classes else SeparateHeads
        return trunk(
            len(self.explained_classes),
            self.width,
            self.options.num_features,
            self.options.hidden,
            decoder=self.options.decoder,
            positions=self.positions,
        )

    @property
    @override
    def class_axes(self) -> Mapping[str, int]:
        if isinstance(self.heads, SeparateHeads):
            return {}  # each head has tensors of its own
        last = f"heads.encoder.{2 * len(self.options.hidden)}"
        rows = ("heads.predictor", "heads.is_alive", f"{last}.weight", f"{last}.bias")
        return dict.fromkeys(rows, 0) | {"heads.decoder.0.weight": 1}

    @override
    def inherited_state(self, state: Mapping[str, Tensor], rows: Sequence[int | None]) -> dict[str, Tensor]:
        if not isinstance(self.heads, SeparateHeads):
            return super().inherited_state(state, rows)
        taken = self.head_state()
        for row, before in enumerate(rows):
            if before is None:
                continue
            start, own = f"heads.{before}.", f"heads.{row}."
            saved = {own + name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}
            kept = {name: value for name, value in taken.items() if not name.startswith(own) or name.endswith(".alive")}
            taken = kept | saved
        return taken
