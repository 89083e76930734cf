"""The activation map of a channel, as large as the input."""

import torch
from torch import Tensor
from typing_extensions import override

from vitrine.attribution.base import Indices, Method, Unit
from vitrine.attribution.class_activation import layout_of_layer, upsampled
from vitrine.attribution.precision import in_full
from vitrine.glass import captured


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
