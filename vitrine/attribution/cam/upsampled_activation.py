"""Upsampled activation: a channel's own activation map, as in network dissection (Bau et al., CVPR 2017)."""

import torch
from torch import Tensor
from typing_extensions import override

from vitrine.attribution.base import Method
from vitrine.attribution.layouts import layout_of_layer
from vitrine.attribution.targets import Target
from vitrine.backbones.taps import captured
from vitrine.core.image_ops import upsampled
from vitrine.core.precision import in_full


class UpsampledActivation(Method):
    """Draws a channel of ``layer`` by its activations, bilinearly upsampled without aligned corners: (B, 1, H, W).

    Maps are signed, and not scaled.

    Args:
        model: as in `Method`.
        layer: the layer whose channels are drawn; it gives maps or tokens as in `ClassActivation`.
        internal_batch_size: as in `Method`.

    Raises:
        ValueError: as in `Method`; of ``attribute`` also without a channel, with a class, and for a layer without places in
            the image.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
        >>> UpsampledActivation(model, layer="1").attribute(torch.rand(2, 3, 8, 8), channel=3).shape
        torch.Size([2, 1, 8, 8])
    """

    explains_classes = False
    signed = True
    draws_target_layer = True
    paper = "Bau et al. 2017"

    @override
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        layer = target.layer or ""
        with torch.no_grad(), captured(self.model, [layer]) as outputs:
            self.model(inputs)
        activations = layout_of_layer(self.model, layer, outputs[layer], inputs)(outputs[layer])
        channels = target.resolve(activations)
        rows = torch.arange(len(channels), device=channels.device)[:, None]
        return upsampled(in_full(activations[rows, channels]), inputs)[:, :, None]
