"""Upsampled activation: a channel's own activation map, as in network dissection (Bau et al., CVPR 2017)."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.base import Method
from vitrine.attribution.cam.alignment import Alignment, upsampled_by
from vitrine.attribution.layouts import layout_of_layer
from vitrine.attribution.receptive_field.cell_centers import centers_of_layer
from vitrine.attribution.targets import Target
from vitrine.backbones.outputs import OutputChoice
from vitrine.backbones.partial_passes import outputs_of
from vitrine.core.options import Count, checked
from vitrine.core.precision import in_full


class UpsampledActivation(Method):
    """Draws a channel of ``layer`` by its activations, bilinearly upsampled: (B, 1, H, W).

    Maps are signed, and not scaled.

    Args:
        model: as in `Method`.
        layer: the layer whose channels are drawn; it gives maps or tokens as in `ClassActivation`.
        internal_batch_size: as in `Method`.
        output: as in `Method`.
        alignment: as in `Alignment`.

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

    @checked
    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        *,
        internal_batch_size: Count | None = None,
        output: OutputChoice | None = None,
        alignment: Alignment = "receptive_field",
    ) -> None:
        super().__init__(model, layer, internal_batch_size=internal_batch_size, output=output)
        self.alignment = alignment

    @override
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        layer = target.layer or ""
        with torch.no_grad():
            output = outputs_of(self.model, inputs, [layer])[layer]
        activations = layout_of_layer(self.model, layer, output, inputs)(output)
        channels = target.resolve(activations)
        rows = torch.arange(len(channels), device=channels.device)[:, None]
        drawn = in_full(activations[rows, channels])
        maps = upsampled_by(self.alignment, drawn, inputs, lambda: centers_of_layer(self.model, inputs, layer))
        return maps[:, :, None]
