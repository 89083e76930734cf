"""How x-features are drawn: by (contrastive) excitation backprop, or by LRP."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from vitrine.attribution.excitation.excitation_backprop import excitation_maps
from vitrine.attribution.excitation.linear_rules import NegativeActivations
from vitrine.attribution.lrp.composites import CompositeName, composite_named
from vitrine.attribution.lrp.lrp import relevance_maps

Aux = TypeVar("Aux")


@dataclass(frozen=True)
class Drawing:
    """A way of drawing outputs of a function of images.

    Args:
        contrastive: whether excitation backprop is contrastive.
        negative_activations: as in `excitation_maps`.
        lrp: the composite of LRP, which draws instead of excitation backprop if it is given.
    """

    contrastive: bool = True
    negative_activations: NegativeActivations = "clamp"
    lrp: CompositeName | None = None

    def maps(
        self, forward: Callable[[Tensor], tuple[Tensor, Aux]], images: Tensor, indices: Tensor
    ) -> tuple[Tensor, Tensor, Aux]:
        """Maps (B, K, H, W) of outputs (B, n) at the indices (B, K), the outputs, and auxiliary data.

        Raises:
            ValueError: if an operator between the outputs and the pixels has no rule.
        """
        if self.lrp is not None:
            relevances, outputs, aux = relevance_maps(
                forward, images, indices, composite=composite_named(self.lrp), has_aux=True
            )
            return relevances.sum(dim=2), outputs, aux
        return excitation_maps(
            forward,
            images,
            indices,
            contrastive=self.contrastive,
            negative_activations=self.negative_activations,
            has_aux=True,
        )
