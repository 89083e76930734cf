"""Center: the map that always points at the middle of the image, the baseline of the pointing game."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.base import Method
from vitrine.attribution.targets import Target
from vitrine.backbones.outputs import OutputChoice
from vitrine.core.options import Count, checked


class Center(Method):
    """1 / (1 + d), where d is the distance to the centre of the input in pixels: (B, 1, H, W), the same for every input.

    Args:
        model: not used, and not needed.
        layer: as in `Method`; the map of each channel is the same.
        internal_batch_size: as in `Method`.
        output: as in `Method`.

    Raises:
        ValueError: as in `Method`.

    Example:
        >>> import torch
        >>> Center().attribute(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 1, 8, 8])
    """

    takes_torchscript = True
    paper = "baseline of the pointing game"

    @checked
    def __init__(
        self,
        model: nn.Module | None = None,
        layer: str | nn.Module | None = None,
        *,
        internal_batch_size: Count | None = None,
        output: OutputChoice | None = None,
    ) -> None:
        super().__init__(
            nn.Identity() if model is None else model, layer, internal_batch_size=internal_batch_size, output=output
        )

    @override
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        height, width = inputs.shape[-2:]
        rows = torch.arange(height, device=inputs.device) - (height - 1) / 2
        columns = torch.arange(width, device=inputs.device) - (width - 1) / 2
        peak = 1 / (1 + torch.hypot(rows[:, None], columns))
        return peak.expand(len(inputs), target.num_maps, 1, height, width).clone()
