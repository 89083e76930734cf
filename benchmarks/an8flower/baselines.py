"""The methods that draw a class by themselves, and what may be chosen of each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from benchmarks.method_table import METHODS, strongest, summed

MAP_LAYERS = ("features.1", "features.3", "features.6", "features.8", "features.11", "features.12")
"""Of `FlowerCNN`: the five rectified convolutions, and the last pooling."""

NAMES = {
    "Grad-CAM": "GradCAM",
    "Guided Grad-CAM": "GuidedGradCAM",
    "Grad-CAM++": "GradCAMPlusPlus",
    "Guided Grad-CAM++": "GuidedGradCAMPlusPlus",
    "LayerCAM": "LayerCAM",
    "Saliency": "Saliency",
    "Guided backprop": "GuidedBackprop",
    "Deconvnet": "Deconvnet",
    "EBP": "ExcitationBackprop",
    "c-MWP": "ExcitationBackprop+c-MWP",
    "LRP": "LRP",
    "Integrated gradients": "IntegratedGradients",
    "SmoothGrad": "SmoothGrad",
    "RISE": "RISE",
    "Meaningful perturbation": "MeaningfulPerturbation",
}
"""Those of table 1 first; by their names in the table of methods."""


@dataclass(frozen=True)
class Choice:
    """One way of running a method, before its maps are read."""

    what: str
    """In words."""
    draw: Callable[[nn.Module, Tensor], Tensor]
    """(M, H, W) maps of the predicted class from a network and (M, 3, H, W) images."""


def is_slow(name: str) -> bool:
    """Whether a method is run on few images."""
    return name in {"RISE", "Meaningful perturbation"}


def choices(name: str, seed: int) -> Iterator[Choice]:
    """A choice for each layer, of methods that draw one, and for each way of taking colours together."""
    entry = METHODS[NAMES[name]]
    reads: dict[str, Callable[[Tensor], Tensor]] = {"as it is": summed}
    if entry.blurred and "Excitation" not in NAMES[name]:
        reads = {"largest absolute value": strongest, "positive sum": lambda maps: summed(maps).clamp(min=0)}
    for layer in MAP_LAYERS if entry.layered else (None,):
        for word, read in reads.items():
            yield Choice(f"{layer or 'logit'}, {word}", _draw(entry, layer, read, seed))


def _draw(entry: Any, layer: str | None, read: Callable[[Tensor], Tensor], seed: int) -> Any:
    def draw(network: nn.Module, images: Tensor) -> Tensor:
        method = entry.build(network, layer, seed)
        method.internal_batch_size = 16
        return read(method.attribute(images)).cpu()

    return draw
