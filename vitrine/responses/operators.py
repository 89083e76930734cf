"""The operators of a graph as the rules for them see them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor
from torch.autograd.graph import Node

from vitrine.responses.region import Region, Size


class Demand(NamedTuple):
    """What of an operator's output is looked at."""

    region: Region
    output: int
    """Which of its outputs."""
    clip: bool
    """Whether indices that a tensor does not have, such as those of padding, are left out."""


Rule = Callable[[Demand], Sequence[Region | None]]
"""What of each operand is needed for it; None for nothing."""


class Operator(NamedTuple):
    """One operator of a forward pass."""

    arguments: Mapping[str, Any]
    """Those that the graph has kept, as far as they are plain values; of a weight its shape."""
    outputs: list[Size]
    operands: list[Size | None]
    """Shapes of what it was given; None for what does not depend on the input."""

    def dimension(self, name: str, count: int) -> int:
        """An argument that names one of ``count`` dimensions, from 0."""
        return int(self.arguments[name]) % count

    def alone(self, region: Region | None) -> list[Region | None]:
        """For an operator whose first operand is the only one that depends on the input."""
        return [region] + [None] * (len(self.operands) - 1)

    @property
    def operand(self) -> Size:
        """Shape of the first operand, for an operator where no other depends on the input."""
        return self.operands[0] or ()


_ARGUMENTS = (
    "stride", "padding", "dilation", "groups", "transposed", "weight", "kernel_size", "pad", "scales_h", "scales_w",
    "align_corners", "upscale_factor", "downscale_factor", "dim", "dims", "dim0", "dim1", "start", "end", "step",
    "index", "shifts", "normalized_shape", "training",
)  # fmt: skip


def arguments_of(node: Node) -> dict[str, Any]:
    """What the rules read of the arguments of an operator."""
    kept = {name: getattr(node, f"_saved_{name}") for name in _ARGUMENTS if f"_saved_{name}" in dir(node)}
    return {name: tuple(value.shape) if isinstance(value, Tensor) else _signed(value) for name, value in kept.items()}


def _signed(value: Any) -> Any:
    """The graph shows negative integers as unsigned ones of 64 bits."""
    if isinstance(value, tuple | list):
        return tuple(_signed(item) for item in value)
    return value - 2**64 if isinstance(value, int) and value >= 2**63 else value
