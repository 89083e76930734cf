"""LayerCAM: each place of each channel has its own weight (Jiang et al., TIP 2021)."""

from torch import Tensor
from typing_extensions import override

from vitrine.attribution.class_activation import GradientWeighted


class LayerCAM(GradientWeighted):
    """ReLU(Σ_k g⁺_k A_k), where g = ∂y/∂A; made for shallow layers too, whose gradients differ from place to place.

    Arguments, shapes and errors are those of `ClassActivation`.
    """

    @override
    def combined(self, activations: Tensor, gradients: Tensor) -> Tensor:
        return (gradients.clamp(min=0) * activations).sum(dim=1)
