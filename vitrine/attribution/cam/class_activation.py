"""Class activation maps: what is drawn over the activations of a layer, and a channel's own activation."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.autograd.backward import one_hot, send_back
from vitrine.attribution.base import Indices, Method, Unit, checked_output
from vitrine.attribution.layouts import MapLayout, channels_first, layout_of_map, token_grid
from vitrine.attribution.target_layer import target_layer
from vitrine.backbones.taps import captured
from vitrine.core.image_ops import upsampled
from vitrine.core.precision import in_full


class ClassActivation(Method):
    """Draws a class as a weighted sum of the channels of a layer, brought to the input's size.

    Maps are (B, 1, H, W) in float32 or wider, bilinearly upsampled without aligned corners, not scaled.

    Args:
        model: as in `Method`.
        layer: gives a map (B, C, h, w) or (B, h, w, C), or tokens (B, N, D), whose places are found (see `token_grid`) and
            whose class and register tokens are left out; without it, the last layer that does (see `target_layer`), which
            costs a forward pass of one input more.
        relu: whether negative sums become 0, before they are upsampled.
        internal_batch_size: as in `Method`.

    Raises:
        ValueError: for an unknown layer, and of ``attribute`` for a layer without places in the image, and for a channel.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        relu: bool = True,
        *,
        internal_batch_size: int | None = None,
    ) -> None:
        super().__init__(model, layer, internal_batch_size=internal_batch_size)
        self.relu = relu

    @override
    def attribute(self, inputs: Tensor, target: Indices | None = None, channel: Indices | None = None) -> Tensor:
        if channel is not None:
            raise ValueError(
                f"{type(self).__name__} draws classes over the channels of its layer, not a channel; use"
                " UpsampledActivation for the channel's own map, or Deconvnet for what excites it."
            )
        return super().attribute(inputs, target)

    @override
    def maps(self, inputs: Tensor, unit: Unit) -> Tensor:
        coarse = self.coarse_maps(inputs, unit)
        return upsampled(coarse.clamp(min=0) if self.relu else coarse, inputs)[:, :, None]

    @abstractmethod
    def coarse_maps(self, inputs: Tensor, unit: Unit) -> Tensor:
        """(B, K, h, w): the classes over the places of the layer, signed."""

    def found_layer(self, inputs: Tensor) -> str:
        """The named layer, or the last one that gives a map."""
        return target_layer(self.model, inputs) if self.layer is None else self.layer


class GradientWeighted(ClassActivation):
    """Weights the channels by the gradient of the class's logit; K classes cost one forward and K backward passes."""

    @override
    def coarse_maps(self, inputs: Tensor, unit: Unit) -> Tensor:
        layer = self.found_layer(inputs)
        with torch.enable_grad(), cut_at(self.model, layer) as leaves:
            logits = checked_output(self.model(inputs), len(inputs), None)
        (leaf,) = leaves
        if not logits.requires_grad:
            raise ValueError(f"The model's output does not depend on layer {layer!r}; choose a layer before it.")
        layout = layout_of_layer(self.model, layer, leaf, inputs)
        activations = in_full(layout(leaf.detach()))
        starts = (one_hot(logits, column) for column in unit.of(logits).unbind(dim=1))
        gradients = (placed(gradient, layout, layer) for gradient in send_back(logits, leaf, starts))
        return torch.stack([self.combined(activations, gradient) for gradient in gradients], dim=1)

    @abstractmethod
    def combined(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """(B, h, w) from the (B, C, h, w) activations of the layer and gradients of a logit with respect to them."""


@contextmanager
def cut_at(model: nn.Module, layer: str) -> Iterator[list[Tensor]]:
    """Within it, the graph of a forward pass begins at the output of a layer, as a leaf; a later call replaces the leaf.

    What follows in the model gets a copy: an in-place operator changes neither the leaf nor its gradient.

    Raises:
        ValueError: for a layer whose output is not a tensor, and one that the forward pass did not go through.
    """
    leaves: list[Tensor] = []

    def cut(_module: nn.Module, _inputs: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            raise ValueError(
                f"Layer {layer!r} gives a {type(output).__name__}, not a tensor; choose a layer within it."
            )
        leaves[:] = [output.detach().clone().requires_grad_()]
        return leaves[0].clone()

    handle = model.get_submodule(layer).register_forward_hook(cut)
    try:
        yield leaves
    finally:
        handle.remove()
    if not leaves:
        raise ValueError(f"Layer {layer!r} gave no output: the forward pass did not go through it.")


def layout_of_layer(model: nn.Module, layer: str, output: Tensor, inputs: Tensor) -> MapLayout:
    """What takes the output of a layer to (B, C, h, w).

    Raises:
        ValueError: where it has no places in the image.
    """
    if output.ndim == 4 and len(output) == len(inputs):
        return layout_of_map(output.shape, inputs.shape[1:]) or channels_first
    if output.ndim == 3 and len(output) == len(inputs):
        return token_grid(model, inputs, layer, output.shape[1])
    raise ValueError(
        f"Layer {layer!r} gives {tuple(output.shape)} for {len(inputs)} inputs, which has no places in the image; choose one"
        " that gives a map (B, C, h, w) or tokens (B, N, D)."
    )


def placed(gradients: Tensor, layout: MapLayout, layer: str) -> Tensor:
    """(B, C, h, w), in float32 or wider.

    Raises:
        ValueError: where all there is lies on tokens without a place.
    """
    maps = in_full(layout(gradients))
    if gradients.any() and not maps.any():
        raise ValueError(
            f"Behind layer {layer!r} the class depends on the class token alone, so that its map would be empty; choose a"
            " layer before the last attention, such as the first norm of the last block."
        )
    return maps


class UpsampledActivation(Method):
    """Draws a channel of ``layer`` by its own activations, bilinearly upsampled without aligned corners; (B, 1, H, W).

    The layer gives maps or tokens as in `ClassActivation`. Maps are signed, and not scaled.

    Args:
        model: as in `Method`.
        layer: the layer whose channels are drawn.
        internal_batch_size: as in `Method`.

    Raises:
        ValueError: for an unknown layer, and of ``attribute`` without a channel, for a class, and for a layer without places
            in the image.
    """

    @override
    def attribute(self, inputs: Tensor, target: Indices | None = None, channel: Indices | None = None) -> Tensor:
        if channel is None or target is not None:
            raise ValueError(
                "UpsampledActivation draws a channel of its layer and knows no classes; give channel alone, or use GradCAM"
                " for a class."
            )
        return super().attribute(inputs, channel=channel)

    @override
    def maps(self, inputs: Tensor, unit: Unit) -> Tensor:
        layer = unit.layer or ""
        with torch.no_grad(), captured(self.model, [layer]) as outputs:
            self.model(inputs)
        activations = layout_of_layer(self.model, layer, outputs[layer], inputs)(outputs[layer])
        units = unit.of(activations)
        rows = torch.arange(len(units), device=units.device)[:, None]
        return upsampled(in_full(activations[rows, units]), inputs)[:, :, None]
