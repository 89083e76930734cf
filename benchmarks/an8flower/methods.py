"""The methods without a fit, and the ways of running each of them that are chosen among."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from torch import Tensor, nn

from benchmarks.method_table import METHODS, Entry, strongest, summed
from vitrine.attribution.inversion.layers import stage_layers
from vitrine.attribution.target_layer import target_layer
from vitrine.backbones.guard import eval_guard

Draw = Callable[[Tensor], Tensor]
"""(M, H, W) maps of the predicted class of (M, 3, H, W) images."""


@dataclass(frozen=True)
class Choice:
    """One way of running a method, before its maps are read."""

    what: str
    """In words."""
    draw: Draw


NAMES = {
    "Grad-CAM": "GradCAM",
    "Guided Grad-CAM": "GuidedGradCAM",
    "Grad-CAM++": "GradCAMPlusPlus",
    "LayerCAM": "LayerCAM",
    "Saliency": "Saliency",
    "Guided backprop": "GuidedBackprop",
    "Deconvnet": "Deconvnet",
    "Integrated gradients": "IntegratedGradients",
    "SmoothGrad": "SmoothGrad",
    "EBP": "ExcitationBackprop",
    "c-MWP": "ExcitationBackprop+c-MWP",
    "LRP": "LRP",
    "Attention rollout": "AttentionRollout",
    "Attention relevance": "AttentionRelevance",
    "RISE": "RISE",
    "Meaningful perturbation": "MeaningfulPerturbation",
    "Center": "Center",
}
"""By their names in the table of methods."""
OPTIONS: dict[str, dict[str, Sequence[Any]]] = {
    "EBP": {"negative_activations": ("clamp", "raw", "zplus"), "attention": ("values", "shared")},
    "c-MWP": {"negative_activations": ("clamp", "raw", "zplus"), "attention": ("values", "shared")},
    "LRP": {"composite": ("epsilon", "epsilon_gamma_box", "epsilon_plus", "alpha2_beta1", "attn")},
}
"""What is chosen among beside the layer and how colours are joined."""


def map_layers(network: nn.Module, images: Tensor) -> tuple[str, ...]:
    """The last layer of each resolution down to the target layer: where maps are drawn."""
    with eval_guard(network):
        return stage_layers(network, images[:1], target_layer(network, images[:1]))


def choices(name: str, network: nn.Module, layers: Sequence[str], seed: int) -> Iterator[Choice]:
    """A choice for each layer, of methods that draw one, for each way of taking colours together, and each option."""
    entry = METHODS[NAMES[name]]
    reads: dict[str, Draw] = {"as it is": summed}
    if entry.blurred and "Excitation" not in NAMES[name]:
        reads = {"largest absolute value": strongest, "positive sum": lambda maps: summed(maps).clamp(min=0)}
    options = OPTIONS.get(name, {})
    for layer in layers if entry.layered else (None,):
        for values in product(*options.values()):
            given = dict(zip(options, values, strict=True))
            for word, read in reads.items():
                what = ", ".join([layer or "logit", *map(str, values), word])
                yield Choice(what, _draw(_with(entry, given), network, layer, read, seed))


def _with(entry: Entry, options: dict[str, Any]) -> Entry:
    return Entry(**{**vars(entry), "options": {**entry.options, **options}})


def _draw(entry: Entry, network: nn.Module, layer: str | None, read: Draw, seed: int) -> Draw:
    def draw(images: Tensor) -> Tensor:
        method = entry.build(network, layer, seed)
        method.internal_batch_size = 16
        return read(method.attribute(images)).cpu()

    return draw
