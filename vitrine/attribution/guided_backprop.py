"""Guided backprop: the gradient along paths that raise a unit at every rectifier (Springenberg et al., 2015)."""

from typing_extensions import override

from vitrine.attribution.deconvnet import Deconvnet
from vitrine.attribution.interception import Rule
from vitrine.attribution.rectified import guided_rules


class GuidedBackprop(Deconvnet):
    """A deconvnet whose signal also stops where the forward pass was rectified: R = g⁺ f′(x) at a rectifier f.

    For ReLU, that is g⁺ where x > 0; for ReLU6, g⁺ where 0 < x < 6; a smooth one (GELU, SiLU, …) keeps its own slope.
    All else, the arguments too, is as in `Deconvnet`; with ``stride_one`` it is the heatmap of Oramas et al., ICLR 2019.
    """

    @override
    def rectifier_rules(self) -> dict[str, Rule]:
        return guided_rules()
