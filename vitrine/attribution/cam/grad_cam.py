"""Grad-CAM, Grad-CAM++ and LayerCAM: channels weighted by the gradient of the class's logit; guided Grad-CAM."""

from collections.abc import Sequence

from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.autograd.noted_outputs import NotedOutput
from vitrine.attribution.base import SharedPass
from vitrine.attribution.cam.alignment import Alignment
from vitrine.attribution.cam.gradient_weighted import GradientWeighted
from vitrine.attribution.gradient.deconvnet import GuidedBackprop
from vitrine.attribution.shared_pass import CANNOT_SHARE, shared_pass
from vitrine.attribution.targets import Target
from vitrine.backbones.outputs import OutputChoice
from vitrine.core.options import Count, checked


class GradCAM(GradientWeighted):
    """ReLU(Σ_k α_k A_k), where α_k is the spatial mean of ∂y/∂A_k, and y the class's logit (Selvaraju et al., ICCV 2017).

    Arguments, shapes and errors are those of `ClassActivation`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
        >>> images = torch.rand(2, 3, 8, 8)
        >>> GradCAM(model).attribute(images).shape  # of the predicted classes, over the last layer that gives a map
        torch.Size([2, 1, 8, 8])
        >>> GradCAM(model, "0").attribute(images, target=torch.tensor([[1, 2, 3], [0, 1, 4]])).shape
        torch.Size([2, 3, 1, 8, 8])
    """

    paper = "Selvaraju et al. 2017"

    @override
    def combined(self, activations: Tensor, gradients: Tensor) -> Tensor:
        return (gradients.mean(dim=(2, 3), keepdim=True) * activations).sum(dim=1)


class GradCAMPlusPlus(GradientWeighted):
    """ReLU(Σ_k w_k A_k) with w_k = Σ_ij α_k,ij g⁺_k,ij and α = g² / (2 g² + g³ Σ_ab A_k,ab), where g = ∂y/∂A.

    The paper (Chattopadhay et al., WACV 2018) takes the gradient of exp(y), which is exp(y) g. That factor is the same all
    over the map and overflows, so it is left out. The equation is made for activations of at least 0; for others the
    denominator can come close to 0.

    Arguments, shapes and errors are those of `ClassActivation`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
        >>> GradCAMPlusPlus(model).attribute(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 1, 8, 8])
    """

    paper = "Chattopadhay et al. 2018"

    @override
    def combined(self, activations: Tensor, gradients: Tensor) -> Tensor:
        # α g⁺ with g² cancelled, which has no 0/0 and needs no ε.
        weights = gradients.clamp(min=0) / (2 + gradients * activations.sum(dim=(2, 3), keepdim=True))
        return (weights.sum(dim=(2, 3), keepdim=True) * activations).sum(dim=1)


class LayerCAM(GradientWeighted):
    """ReLU(Σ_k g⁺_k A_k), where g = ∂y/∂A; suited to shallow layers too (Jiang et al., TIP 2021).

    Arguments, shapes and errors are those of `ClassActivation`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
        >>> LayerCAM(model, layer="0").attribute(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 1, 8, 8])
    """

    paper = "Jiang et al. 2021"

    @override
    def combined(self, activations: Tensor, gradients: Tensor) -> Tensor:
        return (gradients.clamp(min=0) * activations).sum(dim=1)


class _Guided(GradientWeighted):
    gradient_like = True
    signed = True
    smoothed_for_pointing = True
    rectifies = True
    network_requirement = GuidedBackprop.network_requirement

    @checked
    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        relu: bool = True,
        *,
        internal_batch_size: Count | None = None,
        output: OutputChoice | None = None,
        alignment: Alignment = "receptive_field",
    ) -> None:
        super().__init__(
            model, layer, relu, internal_batch_size=internal_batch_size, output=output, alignment=alignment
        )
        self.guided_backprop = GuidedBackprop(model)

    @override
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        try:
            shared, seen = shared_pass({"": self}, inputs)
            return self.maps_of_pass(shared, seen[""], target)
        except CANNOT_SHARE:  # by a pass for each factor, which says what is wrong if anything is
            return super().maps(inputs, target) * self.guided_backprop.maps(inputs.clone(), target)

    @override
    def maps_of_pass(self, shared: SharedPass, seen: Sequence[NotedOutput], target: Target) -> Tensor:
        guided = self.guided_backprop.maps_of_pass(shared, None, target)
        return super().maps_of_pass(shared, seen, target) * guided


class GuidedGradCAM(_Guided, GradCAM):
    """Grad-CAM times guided backprop, pixel by pixel (Selvaraju et al., ICCV 2017): (B, C, H, W).

    Arguments and errors are those of `ClassActivation`; the model must have a rectifier (see `GuidedBackprop`).

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
        >>> GuidedGradCAM(model).attribute(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 3, 8, 8])
    """


class GuidedGradCAMPlusPlus(_Guided, GradCAMPlusPlus):
    """Grad-CAM++ times guided backprop, pixel by pixel (Chattopadhay et al., WACV 2018): (B, C, H, W).

    Arguments and errors are those of `ClassActivation`; the model must have a rectifier (see `GuidedBackprop`).

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
        >>> GuidedGradCAMPlusPlus(model).attribute(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 3, 8, 8])
    """
