"""Attribution methods as rows of benchmarks: their options, how their maps are read, and which are slow.

The rows of a method follow from its class (see `vitrine.attribution.Method`); every exported method has one.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from vitrine.attribution import Method
from vitrine.attribution.registry import all_methods, method_named


def strongest(maps: Tensor) -> Tensor:
    """(K, H, W): the largest absolute value over the channels of (K, C, H, W) gradients (Simonyan et al., 2014)."""
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
    """Whether the maximum is taken after smoothing."""
    slow: bool = False
    """Whether it makes many forward passes, here with fewer steps than its default."""
    layered: bool = False
    """Whether it draws a target layer; the others explain the logits whatever layer is named."""
    of_a_channel: bool = False
    """Whether it explains a channel of the layer and no class."""

    def build(self, model: nn.Module, layer: str | None = None, seed: int = 0) -> Method:
        """The method on a model; ``layer`` is for methods that draw one, ``seed`` for those that draw random numbers."""
        seeded = {"seed": seed} if "seed" in inspect.signature(self.method).parameters else {}
        return self.method(model, layer if self.layered else None, **self.options, **seeded)


def entry_of(method: type[Method], options: Mapping[str, Any], slow: bool | None = None) -> Entry:
    """The row of a method with some options.

    Args:
        method: its class says how its maps are read.
        options: of its constructor.
        slow: whether it is slow with these options; as its class says if it is None.
    """
    return Entry(
        method,
        dict(options),
        read=strongest if method.gradient_like and not method.additive else summed,
        blurred=method.smoothed_for_pointing,
        slow=method.slow if slow is None else slow,
        layered=method.draws_target_layer,
        of_a_channel=not method.explains_classes,
    )


OPTIONS: dict[str, dict[str, Any]] = {
    "Center": {},
    "UpsampledActivation": {},
    "CAM": {},
    "CAM+image": {"alignment": "image"},
    "GradCAM": {},
    "GradCAM+image": {"alignment": "image"},
    "GradCAMPlusPlus": {},
    "GradCAMPlusPlus+image": {"alignment": "image"},
    "LayerCAM": {},
    "LayerCAM+image": {"alignment": "image"},
    "ScoreCAM": {},
    "GuidedGradCAM": {},
    "GuidedGradCAMPlusPlus": {},
    "Saliency": {},
    "SmoothGrad": {"n_samples": 15},
    "IntegratedGradients": {"steps": 20},
    "Deconvnet": {},
    "GuidedBackprop": {},
    "GuidedBackprop+stride_one": {"stride_one": True},
    "ExcitationBackprop": {},
    "ExcitationBackprop+c-MWP": {"contrastive": True},
    "LRP": {},
    "Occlusion": {"window": 32, "stride": 16},
    "RISE": {"n_samples": 500},
    "InversionMask": {},
    "InversionMask+released": {"variant": "released"},
    "InversionMask+fine": {"variant": "fine"},
    "InversionMask+fine, ten steps": {"variant": "fine", "class_steps": 10},
    "InversionMask+smooth": {"variant": "smooth"},
    "InversionMask+smooth, ten steps": {"variant": "smooth", "class_steps": 10},
    "MeaningfulPerturbation": {"iterations": 100},
    # After 100 iterations, the weight of the area is what it is after 800 by default.
    "ExtremalPerturbation": {"iterations": 100, "areas": 0.1, "growth": round(1.0035**8, 4)},
}
"""Options by row; a row is named after its method, with a suffix from ``+`` on for a variant of it."""

SLOW = {"InversionMask+fine": False, "InversionMask+smooth": False}
"""Rows whose options make them slow or not, unlike the default of their method; these two make no steps."""

METHODS = {
    row: entry_of(method_named(row.partition("+")[0]), options, SLOW.get(row))
    for row, options in (OPTIONS | {name: {} for name in all_methods() if name not in OPTIONS}).items()
}
