"""The three things that an inversion mask asks of a network."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrine.attribution.base import checked_output
from vitrine.attribution.class_activation import layout_of_layer
from vitrine.attribution.inversion.layers import InversionLayers
from vitrine.attribution.precision import in_full
from vitrine.glass import captured

ClassesOf = Callable[[Tensor], Tensor]
"""Takes (B, C) logits to (B,) classes."""


class Reading(NamedTuple):
    """What one forward pass of the images themselves gives, without gradient."""

    activations: Tensor
    """(B, n, h, w) ≥ 0, of the layer l₁."""
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

    Args:
        model: maps (B, 3, H, W) images to (B, C) logits; behind glass.
        layers: l₀ and l₁.
        score: of a class, see `InversionSettings`.
    """

    def __init__(self, model: nn.Module, layers: InversionLayers, score: str) -> None:
        self.model = model
        self.layers = layers
        self.score = score

    def read(self, images: Tensor, classes_of: ClassesOf = predicted, *, evidence: bool = False) -> Reading:
        """What one forward pass of the images gives.

        Negative activations are cut, as a ReLU would: a mask shows where a channel is on. Of several layers the maps are
        brought to the size of the largest, and each layer's are divided by their mean, so that none outweighs another.

        Args:
            images: (B, 3, H, W).
            classes_of: takes (B, C) logits to the (B,) classes to explain; the predicted ones without it.
            evidence: whether evidence for them is wanted, which costs a backward pass from the logits to l₁.
        """
        names = list(dict.fromkeys([*self.layers.mask, self.layers.inversion]))
        with torch.set_grad_enabled(evidence), tapped(self.model, names, needs_gradient=evidence) as outputs:
            logits = in_full(checked_output(self.model(images), len(images), None))
        classes = classes_of(logits.detach())
        found = self._evidence(outputs, logits, classes, images) if evidence else None
        maps = [self._maps(name, outputs[name].detach(), images) for name in self.layers.mask]
        return Reading(joined(maps), outputs[self.layers.inversion].detach(), logits.detach(), classes, found)

    def _evidence(self, outputs: dict[str, Tensor], logits: Tensor, classes: Tensor, images: Tensor) -> Tensor:
        leaves = [outputs[name] for name in self.layers.mask]
        with torch.enable_grad():
            chosen = logits.gather(1, classes[:, None]).sum()
            gradients = torch.autograd.grad(chosen, leaves, allow_unused=True)
        found = []
        for name, leaf, gradient in zip(self.layers.mask, leaves, gradients, strict=True):
            layout = layout_of_layer(self.model, name, leaf, images)
            slope = torch.zeros_like(leaf) if gradient is None else gradient
            found.append(channel_evidence(self._maps(name, leaf.detach(), images), in_full(layout(slope))))
        return torch.cat(found, dim=1)

    def _maps(self, name: str, output: Tensor, images: Tensor) -> Tensor:
        return in_full(layout_of_layer(self.model, name, output, images)(output)).clamp(min=0)

    def features(self, images: Tensor) -> Tensor:
        """f^{l₀} of the images, part of the graph."""
        with captured(self.model, [self.layers.inversion], clone=False) as outputs:
            self.model(images)
        return outputs[self.layers.inversion]

    def logits(self, images: Tensor) -> Tensor:
        """(R, C), in float32 or wider."""
        return in_full(checked_output(self.model(images), len(images), None))

    def scores(self, images: Tensor, classes: Tensor) -> Tensor:
        """(R,) scores of (R,) classes."""
        logits = self.logits(images)
        if self.score == "probability":
            logits = logits.softmax(dim=1)
        elif self.score == "log_probability":
            logits = logits.log_softmax(dim=1)
        return logits.gather(1, classes[:, None]).squeeze(1)


def joined(maps: list[Tensor]) -> Tensor:
    """(B, Σn, h, w) of (B, n, h, w) maps of several layers; those of one as they are."""
    if len(maps) == 1:
        return maps[0]
    size = max((m.shape[2:] for m in maps), key=lambda cells: cells[0] * cells[1])
    even = [m / m.mean(dim=(1, 2, 3), keepdim=True).clamp(min=torch.finfo(m.dtype).tiny) for m in maps]
    return torch.cat([F.interpolate(m, size, mode="bilinear", align_corners=False) for m in even], dim=1)


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
