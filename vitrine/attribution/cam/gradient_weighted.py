"""Gradient-weighted class activation maps: the graph is cut at the target layer, and the logit's gradient taken there."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge
from typing_extensions import override

from vitrine.attribution.autograd.backward import one_hot, vjps
from vitrine.attribution.autograd.gradient_flow import REMEDY, check_gradient, differentiating, leads_to
from vitrine.attribution.autograd.noted_outputs import NotedOutput, noted
from vitrine.attribution.base import SharedPass, checked_output
from vitrine.attribution.cam.class_activation import ClassActivation
from vitrine.attribution.layouts import layout_of_layer
from vitrine.attribution.targets import Target
from vitrine.backbones.map_layouts import MapLayout
from vitrine.core.precision import in_full


class GradientWeighted(ClassActivation):
    """Weights the channels by the gradient of the class's logit; K classes cost one forward and K backward passes."""

    @override
    def coarse_maps(self, inputs: Tensor, target: Target, layer: str | None) -> Tensor:
        layer = layer or ""
        with differentiating(self.model), cut_at(self.model, layer) as leaves:
            logits = checked_output(self.model(inputs.clone()), len(inputs), None)
        (leaf,) = leaves
        if not leads_to(logits, leaf):
            self._refuse(inputs, layer)
        return self._combined(
            logits, leaf, leaf.detach(), layout_of_layer(self.model, layer, leaf, inputs), target, layer
        )

    @override
    def reader(self, inputs: Tensor) -> AbstractContextManager[Any] | None:
        return noted(self.model, self.drawn_layer(inputs) or "", own=True)

    @override
    def maps_of_pass(self, shared: SharedPass, seen: Sequence[NotedOutput], target: Target) -> Tensor:
        layer, edge, values = seen[0]
        layout = layout_of_layer(self.model, layer, values, shared.pixels)
        coarse = self._combined(shared.logits, edge, values, layout, target, layer, keep=True)
        if not coarse.any():
            raise ValueError(f"Nothing but zeros at layer {layer!r}: a pass alone sees whether a gradient leads there.")
        return self.drawn(coarse, shared.pixels.detach(), layer)

    def _combined(
        self,
        logits: Tensor,
        place: Tensor | GradientEdge,
        values: Tensor,
        layout: MapLayout,
        target: Target,
        layer: str,
        *,
        keep: bool = False,
    ) -> Tensor:
        """(B, K, h, w) from the layer's values and its place in the graph of the logits, which stays alive to ``keep``."""
        activations = self.summands(layout(values))
        cotangents = (one_hot(logits, column) for column in target.resolve(logits).unbind(dim=1))
        gradients = (spatial_gradients(vjp, layout, layer) for vjp in vjps(logits, place, cotangents, keep=keep))
        maps = [self.combined(activations, self.summands(gradient)) for gradient in gradients]
        return torch.stack(maps, dim=1).to(in_full(values).dtype)

    def _refuse(self, inputs: Tensor, layer: str) -> NoReturn:
        """Raises ValueError: no gradient leads from the logits to the inputs, or none to the layer alone."""
        with differentiating(self.model):
            pixels = inputs.detach().clone().requires_grad_()
            check_gradient(checked_output(self.model(pixels.clone()), len(inputs), None), pixels, self.model)
        raise ValueError(
            f"The model's output does not depend on layer {layer!r}, or no gradient leads back to it; choose a layer before"
            " it."
        )

    @abstractmethod
    def combined(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """(B, h, w) from the (B, C, h, w) activations of the layer and a logit's gradients by them, both float64."""


@contextmanager
def cut_at(model: nn.Module, layer: str) -> Iterator[list[Tensor]]:
    """A context in which the graph of a forward pass begins at the output of a layer, as a leaf.

    What follows in the model gets a copy, so that an in-place operator changes neither the leaf nor its gradient.

    Args:
        model: runs forward within the context.
        layer: dotted name.

    Yields:
        A list that will hold the leaf, of the last call of the layer.

    Raises:
        ValueError: if the layer's output is not a tensor, or not of floating-point numbers, or the forward pass does not go
            through it.
    """
    leaves: list[Tensor] = []

    def cut(_module: nn.Module, _inputs: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            raise ValueError(
                f"Layer {layer!r} gives a {type(output).__name__}, not a tensor; choose a layer within it."
            )
        if not output.is_floating_point():
            raise ValueError(f"Layer {layer!r} gives {output.dtype}, which has no gradient; {REMEDY}.")
        leaves[:] = [output.detach().clone().requires_grad_()]
        return leaves[0].clone()

    handle = model.get_submodule(layer).register_forward_hook(cut)
    try:
        yield leaves
    finally:
        handle.remove()
    if not leaves:
        raise ValueError(f"Layer {layer!r} gave no output: the forward pass did not go through it.")


def spatial_gradients(gradients: Tensor, layout: MapLayout, layer: str) -> Tensor:
    """(B, C, h, w) gradients at the places of a layer, in float32 or wider.

    Raises:
        ValueError: if they are 0 at all places, but not at the class token.
    """
    maps = in_full(layout(gradients))
    if gradients.any() and not maps.any():
        raise ValueError(
            f"Behind layer {layer!r} the class depends on the class token alone, so that its map would be empty; choose a"
            " layer before the last attention, such as the first norm of the last block."
        )
    return maps
