"""The attribution methods that benchmarks compare: their options, how their maps are read, and which are slow."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from vitrine.attribution import (
    CAM,
    LRP,
    RISE,
    Center,
    Deconvnet,
    ExcitationBackprop,
    ExtremalPerturbation,
    GradCAM,
    GradCAMPlusPlus,
    GuidedBackprop,
    GuidedGradCAM,
    GuidedGradCAMPlusPlus,
    IntegratedGradients,
    InversionMask,
    LayerCAM,
    MeaningfulPerturbation,
    Method,
    Occlusion,
    Saliency,
    ScoreCAM,
    SmoothGrad,
    UpsampledActivation,
)


def strongest(maps: Tensor) -> Tensor:
    """(K, H, W): the largest absolute value over the channels of (K, C, H, W), as gradients are read (Simonyan et al.)."""
    return maps.abs().amax(dim=1)


def summed(maps: Tensor) -> Tensor:
    """(K, H, W): the sum over the channels of (K, C, H, W); a map of one channel as it is."""
    return maps.sum(dim=1)


@dataclass(frozen=True)
class Entry:
    """A method, and how its map is read."""

    method: Callable[..., Method]
    options: dict[str, Any] = field(default_factory=dict)
    read: Callable[[Tensor], Tensor] = summed
    blurred: bool = False
    """Whether it works at single pixels, so that its maximum is sought after smoothing."""
    slow: bool = False
    """Whether it runs the model many times, here with fewer steps than is usual."""
    layered: bool = False
    """Whether it draws a target layer; the others explain the logits whatever layer is named."""
    of_a_channel: bool = False
    """Whether it explains a channel of the layer and no class."""

    def build(self, model: nn.Module, layer: str | None = None, seed: int = 0) -> Method:
        """The method on a model; ``layer`` is for those that draw one, ``seed`` for those with something random in them."""
        seeded = {"seed": seed} if "seed" in inspect.signature(self.method).parameters else {}
        return self.method(model, layer if self.layered else None, **self.options, **seeded)


METHODS = {
    "Center": Entry(Center),
    "UpsampledActivation": Entry(UpsampledActivation, layered=True, of_a_channel=True),
    "CAM": Entry(CAM),
    "GradCAM": Entry(GradCAM, layered=True),
    "GradCAMPlusPlus": Entry(GradCAMPlusPlus, layered=True),
    "LayerCAM": Entry(LayerCAM, layered=True),
    "ScoreCAM": Entry(ScoreCAM, slow=True, layered=True),
    "GuidedGradCAM": Entry(GuidedGradCAM, {}, strongest, blurred=True, layered=True),
    "GuidedGradCAMPlusPlus": Entry(GuidedGradCAMPlusPlus, {}, strongest, blurred=True, layered=True),
    "Saliency": Entry(Saliency, {}, strongest, blurred=True),
    "SmoothGrad": Entry(SmoothGrad, {"samples": 15}, strongest, blurred=True, slow=True),
    "IntegratedGradients": Entry(IntegratedGradients, {"steps": 20}, blurred=True, slow=True),
    "Deconvnet": Entry(Deconvnet, {}, strongest, blurred=True),
    "GuidedBackprop": Entry(GuidedBackprop, {}, strongest, blurred=True),
    "GuidedBackprop+stride_one": Entry(GuidedBackprop, {"stride_one": True}, strongest, blurred=True),
    "ExcitationBackprop": Entry(ExcitationBackprop, blurred=True),
    "ExcitationBackprop+c-MWP": Entry(ExcitationBackprop, {"contrastive": True}, blurred=True),
    "LRP": Entry(LRP, blurred=True),
    "Occlusion": Entry(Occlusion, {"window": 32, "stride": 16}, slow=True),
    "RISE": Entry(RISE, {"masks": 500}, slow=True),
    "InversionMask": Entry(InversionMask, slow=True),
    "InversionMask+released": Entry(InversionMask, {"variant": "released"}, slow=True),
    "InversionMask+fine": Entry(InversionMask, {"variant": "fine"}),
    "InversionMask+fine, ten steps": Entry(InversionMask, {"variant": "fine", "class_steps": 10}, slow=True),
    "InversionMask+smooth": Entry(InversionMask, {"variant": "smooth"}),
    "InversionMask+smooth, ten steps": Entry(InversionMask, {"variant": "smooth", "class_steps": 10}, slow=True),
    "MeaningfulPerturbation": Entry(MeaningfulPerturbation, {"iterations": 100}, slow=True),
    # The weight of the area grows to what it is after the method's own 800 iterations; the mask is flat at its maximum.
    "ExtremalPerturbation": Entry(
        ExtremalPerturbation, {"iterations": 100, "areas": 0.1, "growth": round(1.0035**8, 4)}, blurred=True, slow=True
    ),
}
