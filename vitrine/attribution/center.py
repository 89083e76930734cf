"""The map that always points at the middle of the image."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.base import Method, Unit


class Center(Method):
    """The baseline of the pointing game: 1 / (1 + d), where d is the distance to the centre of the input in pixels.

    The same (1, H, W) for every input and unit; the model, if one is given, is not run.

    Args:
        model: nothing of it is used.
        layer: lets a channel be named, as of other methods.
        internal_batch_size: as in `Method`.
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        layer: str | nn.Module | None = None,
        *,
        internal_batch_size: int | None = None,
    ) -> None:
        super().__init__(nn.Identity() if model is None else model, layer, internal_batch_size=internal_batch_size)

    @override
    def maps(self, inputs: Tensor, unit: Unit) -> Tensor:
        height, width = inputs.shape[-2:]
        rows = torch.arange(height, device=inputs.device) - (height - 1) / 2
        columns = torch.arange(width, device=inputs.device) - (width - 1) / 2
        centred = 1 / (1 + torch.hypot(rows[:, None], columns))
        count = unit.indices.shape[1] if unit.indices is not None and unit.several else 1
        return centred.expand(len(inputs), count, 1, height, width).clone()
