"""Grad-CAM, Grad-CAM++ and LayerCAM: channels weighted by the gradient of the class's logit."""

from torch import Tensor
from typing_extensions import override

from vitrine.attribution.cam.class_activation import GradientWeighted


class GradCAM(GradientWeighted):
    """ReLU(Σ_k α_k A_k), where α_k is the mean over space of ∂y/∂A_k, and y the class's logit before any softmax.

    Arguments, shapes and errors are those of `ClassActivation`.
    """

    @override
    def combined(self, activations: Tensor, gradients: Tensor) -> Tensor:
        return (gradients.mean(dim=(2, 3), keepdim=True) * activations).sum(dim=1)


class GradCAMPlusPlus(GradientWeighted):
    """ReLU(Σ_k w_k A_k) with w_k = Σ_ij α_k,ij g⁺_k,ij and α = g² / (2 g² + g³ Σ_ab A_k,ab), where g = ∂y/∂A.

    The paper takes the gradient of exp(y), which is g times exp(y): that factor, one for the whole map, is left out, since
    it overflows. The equation is made for activations of at least 0; for others the denominator can come near 0.

    Arguments, shapes and errors are those of `ClassActivation`.
    """

    @override
    def combined(self, activations: Tensor, gradients: Tensor) -> Tensor:
        # α g⁺ with g² cancelled, which has no 0/0 and needs no ε.
        weights = gradients.clamp(min=0) / (2 + gradients * activations.sum(dim=(2, 3), keepdim=True))
        return (weights.sum(dim=(2, 3), keepdim=True) * activations).sum(dim=1)


class LayerCAM(GradientWeighted):
    """ReLU(Σ_k g⁺_k A_k), where g = ∂y/∂A; made for shallow layers too, whose gradients differ from place to place.

    Arguments, shapes and errors are those of `ClassActivation`.
    """

    @override
    def combined(self, activations: Tensor, gradients: Tensor) -> Tensor:
        return (gradients.clamp(min=0) * activations).sum(dim=1)
