"""Grad-CAM: channels weighted by their mean gradient (Selvaraju et al., ICCV 2017)."""

from torch import Tensor
from typing_extensions import override

from vitrine.attribution.class_activation import GradientWeighted


class GradCAM(GradientWeighted):
    """ReLU(Σ_k α_k A_k), where α_k is the mean over space of ∂y/∂A_k, and y the class's logit before any softmax.

    Arguments, shapes and errors are those of `ClassActivation`.
    """

    @override
    def combined(self, activations: Tensor, gradients: Tensor) -> Tensor:
        return (gradients.mean(dim=(2, 3), keepdim=True) * activations).sum(dim=1)
