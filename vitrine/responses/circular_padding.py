"""Circular padding in terms that a graph shows."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class CircularPaddingByParts(TorchFunctionMode):
    """Within it, circular padding joins slices; torch's own writes them into an empty tensor, which hides where they go."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Passes everything else on."""
        kwargs = kwargs or {}
        if func is F.pad and "circular" in {kwargs.get("mode"), *args[2:3]}:
            return _padded(*args[:2], **{name: kwargs[name] for name in ("input", "pad") if name in kwargs})
        return func(*args, **kwargs)


def _padded(input: Tensor, pad: Sequence[int]) -> Tensor:  # noqa: A002 - its name in torch
    output = input
    for index, (before, after) in enumerate(zip(pad[::2], pad[1::2], strict=True)):
        dimension = output.ndim - 1 - index
        size = output.shape[dimension]
        parts = [output.narrow(dimension, size - before, before), output, output.narrow(dimension, 0, after)]
        output = torch.cat([part for part in parts if part.shape[dimension]], dim=dimension)
    return output
