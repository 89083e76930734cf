"""Receptive fields: the pixels on which one output of a layer depends."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge
from torch.overrides import TorchFunctionMode

from vitrine.attribution.autograd.backward import ForwardTrace, Visit, forward_trace
from vitrine.backbones.guard import eval_guard
from vitrine.backbones.taps import resolve_layer
from vitrine.filters.layers import axis_of, blank
from vitrine.filters.receptive_field.dependence import Dependence
from vitrine.filters.receptive_field.region import Dimension, Region, Span, span_of, whole


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


Box = tuple[int, int, int, int]
"""(x0, y0, x1, y1) in pixels, half open."""

Location = tuple[int, int] | None
"""(row, column) of a map; None for a layer without places."""


class ReceptiveFields:
    """The receptive fields of the units of a layer; the network is run once, here, and each field costs no pass.

    A field is the smallest box around all pixels that can change the unit, whatever the weights are. It is followed from the
    unit back through the operators of a forward pass, each with its own arithmetic, and ways that meet are put in one
    box. What mixes all places (fully connected layers, global pooling and norms, attention) sees all of its operand, and so
    does an operator that is not known: a field may be too large then, never too small. A max pooling sees its whole window,
    a ReLU what it cuts off. What no gradient can flow through (detached tensors, comparisons, indices) is not seen.

    Args:
        model: maps (B, C, H, W) images to (B, n, …) outputs.
        layer: dotted name or submodule; of one that runs several times the last output counts.
        input_shape: (C, H, W) or (B, C, H, W).

    Raises:
        ValueError: for an unknown layer, one that gives no tensor that depends on the input, and another input shape.
    """

    def __init__(self, model: nn.Module, layer: str | nn.Module, input_shape: Sequence[int]) -> None:
        if len(input_shape) not in {3, 4}:
            raise ValueError(f"input_shape must be (C, H, W) or (B, C, H, W), got {tuple(input_shape)}.")
        self.layer = resolve_layer(model, layer)
        self.size = torch.Size(input_shape[-3:])
        trace = _trace(model, self.size)
        visit = _last_visit(trace, self.layer)
        self._channel = axis_of(model, trace, visit)
        self._dependence = Dependence(GradientEdge(*visit.edge), (1, *self.size))

    @property
    def map_size(self) -> tuple[int, int] | None:
        """Rows and columns of the layer's map; None for a layer without places."""
        shape = self._dependence.shape
        if len(shape) != 4:
            return None
        rows, columns = (size for dimension, size in enumerate(shape) if dimension not in {0, self._channel})
        return rows, columns

    def of(self, location: Location, channel: int | None = None, *, clip: bool = True) -> Box:
        """The receptive field of a unit.

        Args:
            location: (row, column) of the layer's map; None for a layer without places, whose units see the whole image.
            channel: of the unit; without it, the field of all channels at the location. They differ where channels go
                separate ways, as in split networks.
            clip: without it, a field at a border goes on beyond the image as far as one in the middle would, so that all
                fields of a layer have one size (but behind adaptive pooling); coordinates may be negative. What sees all
                places is the whole image.

        Returns:
            (x0, y0, x1, y1) in pixels of the input, half open; all 0 for a unit that sees nothing but padding.

        Raises:
            ValueError: for a location or channel that the layer does not have.
        """
        _, height, width = self.size
        self._check(location, channel)
        if location is None:
            return 0, 0, width, height
        found = self._dependence.of(self._unit(location, channel), clip=clip)
        if found is None:
            return 0, 0, 0, 0
        (y0, y1), (x0, x1) = (_ends(span_of(dimension)) for dimension in found[2:])
        return x0, y0, x1, y1

    def _unit(self, location: tuple[int, int], channel: int | None) -> Region:
        shape = self._dependence.shape
        channels = whole(shape[self._channel], clip=True) if channel is None else _one(shape[self._channel], channel)
        places = [dimension for dimension in (1, 2, 3) if dimension != self._channel]
        region = [_one(shape[dimension], index) for dimension, index in zip(places, location, strict=True)]
        region.insert(self._channel - 1, channels)
        return (_one(1, 0), *region)

    def _check(self, location: Location, channel: int | None) -> None:
        size, width = self.map_size, self._dependence.shape[self._channel]
        if location is None or size is None:
            if location is not None or size is not None:
                has = "no places; give location=None" if size is None else f"a map of {size}; give (row, column)"
                raise ValueError(f"Layer {self.layer!r} has {has}.")
        elif not all(0 <= place < count for place, count in zip(location, size, strict=True)):
            raise ValueError(f"Location {location} is outside of the map of layer {self.layer!r}, which has {size}.")
        if channel is not None and not 0 <= channel < width:
            raise ValueError(f"channel {channel} is out of range: layer {self.layer!r} has channels 0 to {width - 1}.")


def receptive_field(
    model: nn.Module,
    layer: str | nn.Module,
    location: Location,
    input_shape: Sequence[int],
    channel: int | None = None,
    *,
    clip: bool = True,
) -> Box:
    """The receptive field of one unit of a layer, as in `ReceptiveFields`; for several, make that once.

    Args:
        model: maps (B, C, H, W) images to (B, n, …) outputs.
        layer: dotted name or submodule.
        location: (row, column) of the layer's map; None for a layer without places, whose units see the whole image.
        input_shape: (C, H, W) or (B, C, H, W).
        channel: as in `ReceptiveFields.of`.
        clip: as in `ReceptiveFields.of`.

    Returns:
        (x0, y0, x1, y1) in pixels of the input, half open.

    Raises:
        ValueError: for a layer, location, channel or shape that does not exist.
    """
    return ReceptiveFields(model, layer, input_shape).of(location, channel, clip=clip)


def _trace(model: nn.Module, size: torch.Size) -> ForwardTrace:
    with eval_guard(model), torch.inference_mode(mode=False), CircularPaddingByParts():
        return forward_trace(model, blank(model, size))


def _last_visit(trace: ForwardTrace, layer: str) -> Visit:
    found = [visit for visit in trace.visits if visit.layer == layer]
    if not found:
        raise ValueError(f"Layer {layer!r} gives no tensor (B, …) that depends on the input; choose another.")
    return found[-1]


def _one(size: int, index: int) -> Dimension:
    return (Span(size, index, index + 1),)


def _ends(span: Span) -> tuple[int, int]:
    return (0, span.size) if span.is_far else (span.low, span.high)
