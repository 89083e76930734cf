"""The three things that an inversion mask asks of a network."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vitrine.attribution.autograd.interception import Interception
from vitrine.attribution.autograd.rules import guided_rules
from vitrine.attribution.base import checked_output
from vitrine.attribution.cam.class_activation import layout_of_layer
from vitrine.attribution.inversion.folded import FoldedCopy
from vitrine.attribution.inversion.layers import InversionLayers
from vitrine.attribution.inversion.mask import MaskMaps
from vitrine.attribution.inversion.settings import InversionSettings
from vitrine.backbones.taps import captured
from vitrine.core.precision import in_full

ClassesOf = Callable[[Tensor], Tensor]
"""Takes (B, C) logits to (B,) classes."""


class Reading(NamedTuple):
    """What one forward pass of the images themselves gives, without gradient."""

    maps: MaskMaps
    """Of the layers l₁."""
    features: Tensor
    """(B, …) of the layer l₀."""
    logits: Tensor
    """(B, C)."""
    classes: Tensor
    """(B,) int64: those to explain."""
    evidence: Tensor | None
    """(B, n, 4) of each channel for the class, where it was asked for: see `channel_evidence`."""


def predicted(logits: Tensor) -> Tensor:
    """(B,) classes of the highest logits."""
    return logits.argmax(dim=1)


class InvertedNetwork:
    """A network between the layers of an inversion mask; it runs under the autocast that is on, and keeps its inputs' format.

    As it runs hundreds of times, images go through a copy with folded batch norms, see `FoldedCopy`.

    Args:
        model: maps (B, 3, H, W) images to (B, C) logits; behind glass.
        layers: l₀ and l₁.
        settings: which maps a mask is a sum of, and which score is the class's.
    """

    def __init__(self, model: nn.Module, layers: InversionLayers, settings: InversionSettings) -> None:
        self.model = model
        self.layers = layers
        self.settings = settings
        self.names = list(dict.fromkeys([*layers.mask, layers.inversion]))
        self.copy = FoldedCopy(model, self.names)

    def read(self, images: Tensor, classes_of: ClassesOf = predicted, *, evidence: bool = False) -> Reading:
        """What one forward pass of the images gives.

        Negative activations are cut, as a ReLU would: a mask shows where a channel is on.

        Args:
            images: (B, 3, H, W).
            classes_of: takes (B, C) logits to the (B,) classes to explain; the predicted ones without it.
            evidence: whether evidence for them is wanted, which costs a backward pass from the logits to l₁.
        """
        model = self.copy.of(images)
        kind, gate = self.settings.maps, self.settings.gate
        backward = evidence or kind != "activations"
        rules = guided_rules() if kind == "guided" else {}
        drawn = [*self.layers.mask, self.layers.inversion] if gate else list(self.layers.mask)
        with torch.set_grad_enabled(backward), tapped(model, self.names, needs_gradient=backward) as outputs:
            with Interception(rules):
                logits = in_full(checked_output(model(images), len(images), None))
            classes = classes_of(logits.detach())
            taps = [outputs[name] for name in drawn]
            slopes = gradients_at(taps, logits, classes) if backward else [None] * len(taps)
        placed = [self._placed(*one, images) for one in zip(drawn, taps, slopes, strict=True)]
        every = [f if kind == "activations" or g is None else (g * f).clamp(min=0) for f, g in placed]
        count = len(self.layers.mask)
        top = every[-1].sum(dim=1, keepdim=True) if gate else None
        maps = MaskMaps.of(every[:count], top, gate, self.settings.smoothing)
        told = [channel_evidence(f, g) for f, g in placed[:count] if g is not None]
        found = torch.cat(told, dim=1) if evidence else None
        return Reading(maps, outputs[self.layers.inversion].detach(), logits.detach(), classes, found)

    def _placed(
        self, name: str, output: Tensor, gradient: Tensor | None, images: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """(B, n, h, w) activations ≥ 0 and gradients of a layer."""
        layout = layout_of_layer(self.model, name, output, images)
        activations = in_full(layout(output.detach())).clamp(min=0)
        return activations, None if gradient is None else in_full(layout(gradient))

    def features(self, images: Tensor) -> Tensor:
        """f^{l₀} of the images, part of the graph."""
        model = self.copy.of(images)
        with captured(model, [self.layers.inversion]) as outputs:  # `read` also gets it before an in-place ReLU
            model(images)
        return outputs[self.layers.inversion]

    def logits(self, images: Tensor) -> Tensor:
        """(R, C), in float32 or wider."""
        return in_full(checked_output(self.copy.of(images)(images), len(images), None))

    def scores(self, images: Tensor, classes: Tensor) -> Tensor:
        """(R,) scores of (R,) classes."""
        logits = self.logits(images)
        score = self.settings.score
        if score == "probability":
            logits = logits.softmax(dim=1)
        elif score == "log_probability":
            logits = logits.log_softmax(dim=1)
        elif score == "sigmoid":
            logits = logits.sigmoid()
        return logits.gather(1, classes[:, None]).squeeze(1)


def gradients_at(taps: list[Tensor], logits: Tensor, classes: Tensor) -> list[Tensor]:
    """Gradients of each image's logit of its class with respect to the taps; zeros where it does not depend on one."""
    gradients = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), taps, allow_unused=True)
    return [torch.zeros_like(tap) if g is None else g for tap, g in zip(taps, gradients, strict=True)]


def channel_evidence(maps: Tensor, gradients: Tensor) -> Tensor:
    """(B, n, 4): each channel's mean and maximum, and of the gradient g of a logit the means of g and of g ∘ f.

    Each of the four is divided by its mean absolute value over the layer's channels.

    Args:
        maps: (B, n, h, w) f ≥ 0.
        gradients: (B, n, h, w) g.
    """
    places = (2, 3)
    columns = [
        maps.mean(dim=places),
        maps.amax(dim=places),
        gradients.mean(dim=places),
        (gradients * maps).mean(dim=places),
    ]
    stacked = torch.stack(columns, dim=2)
    size = stacked.abs().mean(dim=1, keepdim=True)
    return stacked / size.where(size > 0, torch.ones_like(size))


@contextmanager
def tapped(model: nn.Module, layers: Sequence[str], *, needs_gradient: bool) -> Iterator[dict[str, Tensor]]:
    """Collects the outputs of layers; with ``needs_gradient``, the graph begins at the first of them."""
    outputs: dict[str, Tensor] = {}

    def keeper(name: str) -> Any:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            if not isinstance(output, Tensor):
                raise ValueError(
                    f"Layer {name!r} gives a {type(output).__name__}, not a tensor; choose a layer within it."
                )
            outputs[name] = output if output.requires_grad else output.detach().requires_grad_(needs_gradient)
            return outputs[name].clone()  # a following in-place operator then leaves the tap alone

        return keep

    handles = [model.get_submodule(name).register_forward_hook(keeper(name)) for name in layers]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
