"""The face that all attribution methods share."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vitrine.glass import captured, resolve_layer

Target = int | Sequence[int] | Tensor


class Method(ABC):
    """Explains a unit of a model by a map over the pixels of its input.

    The model is the same after any call as before, also after an exception.

    Args:
        model: maps (B, C, H, W) inputs to (B, n) logits.
        layer: dotted name or submodule whose unit or channel is explained; a logit of the model's output without it.

    Raises:
        ValueError: where the model has no such layer.
    """

    def __init__(self, model: nn.Module, layer: str | nn.Module | None = None) -> None:
        self.model = model
        self.layer = None if layer is None else resolve_layer(model, layer)

    @abstractmethod
    def attribute(self, inputs: Tensor, target: Target) -> Tensor:
        """One map an input.

        Args:
            inputs: (B, C, H, W) as the model takes them.
            target: index of the explained logit, unit or channel: one for all, or one an input.

        Returns:
            (B, 1, H, W), neither clamped nor rescaled.

        Raises:
            ValueError: for a target that does not exist.
        """

    def explained_output(self, inputs: Tensor) -> Tensor:
        """Output of the explained layer, or of the model, in one forward pass: (B, n) or (B, n, …).

        Raises:
            ValueError: where that is not a tensor with a batch and a unit dimension.
        """
        if self.layer is None:
            output = self.model(inputs)
        else:
            with captured(self.model, [self.layer]) as outputs:
                self.model(inputs)
            output = outputs[self.layer]
        where = "the model" if self.layer is None else f"layer {self.layer!r}"
        if not isinstance(output, Tensor):
            raise ValueError(f"The output of {where} is a {type(output).__name__}; one tensor can be explained.")
        if output.ndim < 2 or len(output) != len(inputs):
            raise ValueError(
                f"The output of {where} must be (B, n, …) with B = {len(inputs)}, got {tuple(output.shape)}."
            )
        return output


def target_units(target: Target, output: Tensor) -> Tensor:
    """(B,) int64 indices along dimension 1 of a (B, n, …) output, from what a caller gave.

    Raises:
        ValueError: where there are not B of them, or one is out of range.
    """
    batch, count = output.shape[:2]
    units = torch.as_tensor(target, device=output.device)
    if units.is_floating_point() or units.dtype == torch.bool:
        raise ValueError(f"target must hold integer indices, got {units.dtype}.")
    if units.ndim > 1 or (units.ndim == 1 and len(units) != batch):
        raise ValueError(f"target must be one index or one for each of the {batch} inputs, got {tuple(units.shape)}.")
    check_units(units, count)
    return units.long().expand(batch)


def check_units(units: Tensor, count: int) -> None:
    """Raises ValueError, naming the first, where indices are not in 0 … count − 1."""
    wrong = units[(units < 0) | (units >= count)]
    if wrong.numel():
        raise ValueError(f"target {int(wrong[0])} is out of range: the explained output has units 0 to {count - 1}.")
