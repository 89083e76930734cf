"""Receptive fields: the pixels on which a unit of a layer depends."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge
from torch.overrides import TorchFunctionMode

from vitrine.attribution.autograd.backward import ForwardTrace, Visit, forward_trace, zero_input
from vitrine.attribution.layer_kinds import axis_of
from vitrine.attribution.receptive_field.dependence import Dependence
from vitrine.attribution.receptive_field.region import Dimension, Region, Span, span_of, whole
from vitrine.backbones.guard import eval_guard
from vitrine.backbones.taps import resolve_layer


class CircularPaddingByParts(TorchFunctionMode):
    """A context in which circular padding concatenates slices; torch's own copies them into a tensor without a graph."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Replaces circular `F.pad`; all other functions run unchanged."""
        kwargs = kwargs or {}
        if func is F.pad and "circular" in {kwargs.get("mode"), *args[2:3]}:
            return _circular_pad(*args[:2], **{name: kwargs[name] for name in ("input", "pad") if name in kwargs})
        return func(*args, **kwargs)


def _circular_pad(input: Tensor, pad: Sequence[int]) -> Tensor:  # noqa: A002 - its name in torch
    output = input
    for index, ends in enumerate(zip(pad[::2], pad[1::2], strict=True)):
        dimension = output.ndim - 1 - index
        before, after = (max(end, 0) for end in ends)
        first, last = (max(-end, 0) for end in ends)  # negative padding crops
        size = output.shape[dimension] - first - last
        output = output.narrow(dimension, first, size)
        parts = [output.narrow(dimension, size - before, before), output, output.narrow(dimension, 0, after)]
        output = torch.cat([part for part in parts if part.shape[dimension]], dim=dimension)
    return output


Box = tuple[int, int, int, int]
"""(x0, y0, x1, y1) in pixels, half open."""

Location = tuple[int, int] | None
"""(row, column) of a map; None for a non-spatial layer."""


class ReceptiveFields:
    """The receptive fields of the units of a layer; the network runs once, in the constructor, and not for each field.

    A field is the smallest box around all pixels that can change the unit, whatever the weights are. It is propagated from
    the unit back through the operators of a forward pass, each with its own index arithmetic; where paths join, boxes are
    merged. Operators that mix all locations (fully connected layers, global pooling and norms, attention) depend on all of
    their operands, and so do unknown operators: a field may be too large, never too small. A max pooling depends on its whole
    window, a ReLU also on negative inputs. Dependence without gradient (detached tensors, comparisons, indices) is ignored.

    Args:
        model: maps (B, C, H, W) images to (B, n, …) outputs.
        layer: dotted name or submodule; if it runs several times, its last output is used.
        input_shape: (C, H, W) or (B, C, H, W).
        grid: of a layer of tokens (B, N, D), rows of the indices of its patch tokens, which are its map then.

    Raises:
        ValueError: for an unknown layer, one without an output tensor that depends on the input, and another input shape.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3))
        >>> fields = ReceptiveFields(model, "2", (3, 32, 32))
        >>> fields.map_size, fields.of((0, 0)), fields.of((0, 0), clip=False)
        ((14, 14), (0, 0, 7, 7), (-1, -1, 7, 7))
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module,
        input_shape: Sequence[int],
        grid: Sequence[Sequence[int]] | None = None,
    ) -> None:
        if len(input_shape) not in {3, 4}:
            raise ValueError(f"input_shape must be (C, H, W) or (B, C, H, W), got {tuple(input_shape)}.")
        self.layer = resolve_layer(model, layer)
        self.size = torch.Size(input_shape[-3:])
        trace = _trace(model, self.size)
        visit = _last_visit(trace, self.layer)
        self._channel = axis_of(model, trace, visit)
        self._grid = grid
        self._dependence = Dependence(GradientEdge(*visit.edge), (1, *self.size))

    @property
    def map_size(self) -> tuple[int, int] | None:
        """Rows and columns of the layer's map; None for a non-spatial layer."""
        shape = self._dependence.shape
        if self._grid is not None:
            return len(self._grid), len(self._grid[0])
        if len(shape) != 4:
            return None
        rows, columns = (size for dimension, size in enumerate(shape) if dimension not in {0, self._channel})
        return rows, columns

    def of(self, location: Location, channel: int | None = None, *, clip: bool = True) -> Box:
        """The receptive field of a unit.

        Args:
            location: (row, column) of the layer's map; None for a non-spatial layer, whose units see the whole image.
            channel: of the unit; without it, the union over all channels at the location. Channels differ where they are
                computed by separate branches.
            clip: without it, fields at the border extend beyond the image, so that all fields of a layer have one size
                (except after adaptive pooling); coordinates may be negative. Units that depend on all locations have the
                whole image.

        Returns:
            (x0, y0, x1, y1) in pixels of the input, half open; all 0 for a unit that depends on padding alone.

        Raises:
            ValueError: for a location or channel outside the layer's output.
        """
        _, height, width = self.size
        self._check(location, channel)
        if location is None:
            return 0, 0, width, height
        region = self._dependence.of(self._unit(location, channel), clip=clip)
        if region is None:
            return 0, 0, 0, 0
        (y0, y1), (x0, x1) = (_bounds(span_of(dimension)) for dimension in region[2:])
        return x0, y0, x1, y1

    def _unit(self, location: tuple[int, int], channel: int | None) -> Region:
        shape = self._dependence.shape
        channels = whole(shape[self._channel], clip=True) if channel is None else _single(shape[self._channel], channel)
        if self._grid is not None:
            return _single(1, 0), _single(shape[1], self._grid[location[0]][location[1]]), channels
        spatial = [dimension for dimension in (1, 2, 3) if dimension != self._channel]
        region = [_single(shape[dimension], index) for dimension, index in zip(spatial, location, strict=True)]
        region.insert(self._channel - 1, channels)
        return (_single(1, 0), *region)

    def _check(self, location: Location, channel: int | None) -> None:
        size, width = self.map_size, self._dependence.shape[self._channel]
        if location is None or size is None:
            if location is not None or size is not None:
                output = (
                    "no spatial map; give location=None" if size is None else f"a map of {size}; give (row, column)"
                )
                raise ValueError(f"Layer {self.layer!r} has {output}.")
        elif not all(0 <= index < length for index, length in zip(location, size, strict=True)):
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
    """The receptive field of one unit of a layer; use `ReceptiveFields` for several units of a layer.

    Args:
        model: maps (B, C, H, W) images to (B, n, …) outputs.
        layer: dotted name or submodule.
        location: (row, column) of the layer's map; None for a non-spatial layer, whose units see the whole image.
        input_shape: (C, H, W) or (B, C, H, W).
        channel: as in `ReceptiveFields.of`.
        clip: as in `ReceptiveFields.of`.

    Returns:
        (x0, y0, x1, y1) in pixels of the input, half open.

    Raises:
        ValueError: for an unknown layer, a location or channel outside its output, or another shape.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3))
        >>> receptive_field(model, "2", (5, 5), (3, 32, 32))
        (9, 9, 17, 17)
    """
    return ReceptiveFields(model, layer, input_shape).of(location, channel, clip=clip)


def _trace(model: nn.Module, size: torch.Size) -> ForwardTrace:
    with eval_guard(model), torch.inference_mode(mode=False), CircularPaddingByParts():
        return forward_trace(model, zero_input(model, size))


def _last_visit(trace: ForwardTrace, layer: str) -> Visit:
    visits = [visit for visit in trace.visits if visit.layer == layer]
    if not visits:
        raise ValueError(f"Layer {layer!r} gives no tensor (B, …) that depends on the input; choose another.")
    return visits[-1]


def _single(size: int, index: int) -> Dimension:
    return (Span(size, index, index + 1),)


def _bounds(span: Span) -> tuple[int, int]:
    return (0, span.size) if span.is_far else (span.low, span.high)
