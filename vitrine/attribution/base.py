"""The face that all attribution methods share."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from vitrine.backbones.guard import eval_guard
from vitrine.backbones.taps import captured, resolve_layer

Indices = int | Sequence[int] | Tensor
"""One for all inputs, (B,) one an input, or (B, K) several an input."""


class Unit(NamedTuple):
    """What is explained: classes of the model, or channels of a layer."""

    indices: Tensor | None
    """() or (B,) or (B, K) int64; None for the class that the model predicts."""
    layer: str | None = None
    """The layer whose channels are meant; None for the model's classes."""

    def of(self, output: Tensor) -> Tensor:
        """(B, K) indices along dimension 1 of a (B, n, …) output.

        Raises:
            ValueError: where one is out of range.
        """
        batch, count = output.shape[:2]
        if self.indices is None:
            return output.detach().argmax(dim=1, keepdim=True)
        indices = self.indices.to(output.device)
        check_units(indices, count, "target" if self.layer is None else "channel")
        return indices if indices.ndim == 2 else indices.reshape(-1, 1).expand(batch, 1)

    def part(self, rows: slice) -> "Unit":
        """The same of a part of the batch."""
        shared = self.indices is None or self.indices.ndim == 0
        return self if shared or self.indices is None else self._replace(indices=self.indices[rows])

    @property
    def several(self) -> bool:
        """Whether there are K units an input, along a dimension of their own."""
        return self.indices is not None and self.indices.ndim == 2


class Method(ABC):
    """Explains a class of a model, or a channel of one of its layers, by a map over the pixels of its input.

    The model is the same after any call as before, also after an exception; it runs in eval mode. One input's map does not
    depend on the others of its batch.

    Args:
        model: maps (B, C, H, W) inputs to (B, n) logits.
        layer: dotted name or submodule: the target layer of methods that read activations, and the layer whose channels
            can be explained.
        internal_batch_size: at most so many inputs go through the model at once; a bound on memory that changes no result.

    Raises:
        ValueError: where the model has no such layer, or ``internal_batch_size`` is less than 1.
    """

    bounds_itself: ClassVar[bool] = False
    """Whether `maps` is given whole batches and keeps to ``internal_batch_size`` itself, as it runs variants of inputs."""

    def __init__(
        self, model: nn.Module, layer: str | nn.Module | None = None, *, internal_batch_size: int | None = None
    ) -> None:
        if internal_batch_size is not None and internal_batch_size < 1:
            raise ValueError(
                f"internal_batch_size is {internal_batch_size}; give 1 or more, or None for whole batches."
            )
        self.model = model
        self.layer = None if layer is None else resolve_layer(model, layer)
        self.internal_batch_size = internal_batch_size

    def attribute(self, inputs: Tensor, target: Indices | None = None, channel: Indices | None = None) -> Tensor:
        """One map an input, or K of them.

        Args:
            inputs: (B, C, H, W) as the model takes them.
            target: index of the explained class: one for all, (B,) one an input, or a (B, K) tensor; the predicted class
                without it.
            channel: index of the explained channel of ``layer``, in place of a class; shaped as ``target``.

        Returns:
            (B, C, H, W) of gradient-like methods, (B, 1, H, W) of map-like ones, neither clamped nor rescaled unless
            the method says so; (B, K, …) for a (B, K) tensor of targets or channels.

        Raises:
            ValueError: for a class or channel that does not exist, or one that this method does not explain.
        """
        if inputs.ndim != 4:
            raise ValueError(f"inputs must be (B, C, H, W), got {tuple(inputs.shape)}.")
        size = max(len(inputs), 1) if self.bounds_itself else self.internal_batch_size or max(len(inputs), 1)
        with eval_guard(self.model), torch.inference_mode(mode=False):
            unit = self._unit(len(inputs), target, channel)
            inputs = inputs.detach().clone()  # outside inference mode, and never the caller's own memory
            parts = [
                self.maps(inputs[start : start + size], unit.part(slice(start, start + size)))
                for start in range(0, max(len(inputs), 1), size)
            ]
        maps = parts[0] if len(parts) == 1 else torch.cat(parts)
        return maps if unit.several else maps.squeeze(1)

    @abstractmethod
    def maps(self, inputs: Tensor, unit: Unit) -> Tensor:
        """Maps of a batch that may go through the model at once, which is in eval mode behind glass.

        Args:
            inputs: (B, C, H, W), memory of the method's own.
            unit: what is explained, K units an input.

        Returns:
            (B, K, C, H, W) or (B, K, 1, H, W), detached.
        """

    def explained_output(self, inputs: Tensor, unit: Unit) -> Tensor:
        """What holds the explained unit, in one forward pass: (B, n) logits, or the (B, n, …) output of its layer.

        Raises:
            ValueError: where that is not a tensor with a batch and a unit dimension.
        """
        if unit.layer is None:
            output = self.model(inputs)
        else:
            with captured(self.model, [unit.layer]) as outputs:
                self.model(inputs)
            output = outputs[unit.layer]
        return checked_output(output, len(inputs), unit.layer)

    def _unit(self, batch: int, target: Indices | None, channel: Indices | None) -> Unit:
        name = type(self).__name__
        if channel is None:
            return Unit(None if target is None else _indices(target, batch, "target"))
        if target is not None:
            raise ValueError(f"{name} was given both a target and a channel; a map explains one or the other.")
        if self.layer is None:
            raise ValueError(f"{name} was given a channel but no layer; name the layer: {name}(model, layer=…).")
        return Unit(_indices(channel, batch, "channel"), self.layer)


def checked_output(output: object, batch: int, layer: str | None) -> Tensor:
    """The output of a model or layer.

    Raises:
        ValueError: where it is not a tensor with a batch and a unit dimension.
    """
    where = "the model" if layer is None else f"layer {layer!r}"
    if not isinstance(output, Tensor):
        raise ValueError(f"The output of {where} is a {type(output).__name__}; one tensor can be explained.")
    if output.ndim < 2 or len(output) != batch:
        raise ValueError(f"The output of {where} must be (B, n, …) with B = {batch}, got {tuple(output.shape)}.")
    return output


def _indices(given: Indices, batch: int, name: str) -> Tensor:
    """() or (B,) or (B, K) int64 from what a caller gave.

    Raises:
        ValueError: where they are not integers, or not B of them.
    """
    indices = torch.as_tensor(given)
    if indices.is_floating_point() or indices.dtype == torch.bool:
        raise ValueError(f"{name} must hold integer indices, got {indices.dtype}.")
    if indices.ndim > 2 or (indices.ndim and len(indices) != batch):
        raise ValueError(
            f"{name} must be one index, one for each of the {batch} inputs, or ({batch}, K), got {tuple(indices.shape)}."
        )
    return indices.long().clone()  # made in inference mode, they could not go into a graph


def check_units(units: Tensor, count: int, name: str = "target") -> None:
    """Raises ValueError, naming the first, where indices are not in 0 … count − 1."""
    wrong = units[(units < 0) | (units >= count)]
    if wrong.numel():
        raise ValueError(f"{name} {int(wrong[0])} is out of range: the explained output has units 0 to {count - 1}.")
