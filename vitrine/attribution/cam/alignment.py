"""Alignment of coarse maps with the image: by receptive fields, or stretched over the image."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from vitrine.attribution.receptive_field.cell_centers import CellCenters
from vitrine.core.image_ops import upsampled, upsampled_from

Alignment = Literal["receptive_field", "image"]
"""``"receptive_field"`` puts each cell at the centre of its receptive field, where that is known and local (see
`centers_of_layer`), and is ``"image"`` elsewhere; ``"image"`` stretches the map over the image without aligned corners, as
other libraries do."""


def upsampled_by(
    alignment: Alignment, maps: Tensor, inputs: Tensor, centers_of: Callable[[], CellCenters | None]
) -> Tensor:
    """(B, K, H, W) from (B, K, h, w) maps, bilinearly.

    Args:
        alignment: see `Alignment`.
        maps: at the resolution of a layer.
        inputs: (B, C, H, W).
        centers_of: finds the centres of the layer's cells; called only where they count.
    """
    centers = centers_of() if alignment == "receptive_field" else None
    height, width = inputs.shape[-2:]
    fits = centers is not None and (len(centers.rows), len(centers.columns)) == tuple(maps.shape[-2:])
    if centers is None or not fits or centers.are_even(height, width):
        return upsampled(maps, inputs)
    return upsampled_from(maps, inputs, *centers)
