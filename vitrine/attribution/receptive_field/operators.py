"""Operators of a forward pass, and the form of the rules by which regions are propagated through them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import Node

from vitrine.attribution.receptive_field.region import Region, Size


class Demand(NamedTuple):
    """A region of one of an operator's outputs, whose dependence is asked for."""

    region: Region
    output: int
    """Index of the output."""
    clip: bool
    """Whether indices outside a tensor, such as those of padding, are left out."""


Rule = Callable[[Demand], Sequence[Region | None]]
"""Maps a demand to the region of each operand that it depends on; None for no dependence."""


class Operator(NamedTuple):
    """One operator of a forward pass."""

    arguments: Mapping[str, Any]
    """Arguments that the graph has saved and that are plain values; of weights their shapes."""
    outputs: list[Size]
    operands: list[Size | None]
    """Shapes of the operands; None for those that do not depend on the input."""
    dtype: torch.dtype = torch.float32
    """Of the first output."""

    def dimension(self, name: str, count: int) -> int:
        """An argument that is one of ``count`` dimensions, as a non-negative index."""
        return int(self.arguments[name]) % count

    def first_only(self, region: Region | None) -> list[Region | None]:
        """The regions of all operands, for an operator of which only the first depends on the input."""
        return [region] + [None] * (len(self.operands) - 1)

    @property
    def operand(self) -> Size:
        """Shape of the first operand, for an operator of which only that depends on the input."""
        return self.operands[0] or ()


_ARGUMENTS = (
    "stride", "padding", "dilation", "groups", "transposed", "weight", "kernel_size", "pad", "scales_h", "scales_w",
    "align_corners", "upscale_factor", "downscale_factor", "dim", "dims", "dim0", "dim1", "start", "end", "step",
    "index", "shifts", "normalized_shape", "training",
)  # fmt: skip


def arguments_of(node: Node) -> dict[str, Any]:
    """The arguments of an operator that the rules use."""
    saved = {name: getattr(node, f"_saved_{name}") for name in _ARGUMENTS if f"_saved_{name}" in dir(node)}
    return {name: tuple(value.shape) if isinstance(value, Tensor) else _signed(value) for name, value in saved.items()}


def _signed(value: Any) -> Any:
    """Undoes that the graph saves negative integers as unsigned ones of 64 bits."""
    if isinstance(value, tuple | list):
        return tuple(_signed(item) for item in value)
    return value - 2**64 if isinstance(value, int) and value >= 2**63 else value
