"""Float32 precision under mixed-precision inference: up-casts and disabled autocast."""

import torch
from torch import Tensor


def in_full(values: Tensor) -> Tensor:
    """The tensor in float32; wider types stay as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def without_autocast(tensor: Tensor) -> torch.autocast:
    """A context in which autocast is off on the tensor's device, so that matrix products keep their operands' precision."""
    return torch.autocast(tensor.device.type, enabled=False)
