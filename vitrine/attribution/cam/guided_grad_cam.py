"""Guided Grad-CAM: the fine lines of guided backprop where Grad-CAM sees the class (Selvaraju et al., ICCV 2017)."""

from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.base import Unit
from vitrine.attribution.cam.class_activation import GradientWeighted
from vitrine.attribution.cam.grad_cam import GradCAM, GradCAMPlusPlus
from vitrine.attribution.gradient.deconvnet import GuidedBackprop


class _Guided(GradientWeighted):
    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        relu: bool = True,
        *,
        internal_batch_size: int | None = None,
    ) -> None:
        super().__init__(model, layer, relu, internal_batch_size=internal_batch_size)
        self.guided_backprop = GuidedBackprop(model)

    @override
    def maps(self, inputs: Tensor, unit: Unit) -> Tensor:
        return super().maps(inputs, unit) * self.guided_backprop.maps(inputs.clone(), unit)


class GuidedGradCAM(_Guided, GradCAM):
    """Guided backprop times Grad-CAM, pixel by pixel; (B, C, H, W).

    Arguments and errors are those of `ClassActivation`; the model must have a rectifier (see `GuidedBackprop`).
    """


class GuidedGradCAMPlusPlus(_Guided, GradCAMPlusPlus):
    """Guided backprop times Grad-CAM++, pixel by pixel (Chattopadhay et al., WACV 2018); (B, C, H, W).

    Arguments and errors are those of `ClassActivation`; the model must have a rectifier (see `GuidedBackprop`).
    """
