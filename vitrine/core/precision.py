"""Float32 or wider, whatever precision the model runs in."""

import torch
from torch import Tensor


def in_full(values: Tensor) -> Tensor:
    """The tensor in float32, or wider where it is wider."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def without_autocast(tensor: Tensor) -> torch.autocast:
    """Keeps products of tensors on its device in their own precision."""
    return torch.autocast(tensor.device.type, enabled=False)
