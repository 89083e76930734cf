"""Heatmaps of several filters an image, each of any layer, from one forward pass (Oramas et al., ICLR 2019, section 3.2)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from vitrine.attribution.backward import send_back
from vitrine.attribution.deconvnet import Deconvnet
from vitrine.glass import behind_glass, captured

Filter = tuple[str, int]
"""Dotted name of a layer, and the index of one of its channels."""


def filter_heatmaps(
    method: Deconvnet,
    inputs: Tensor,
    filters: Sequence[Sequence[Filter]],
    axes: Mapping[str, int] = MappingProxyType({}),
    floors: Tensor | None = None,
) -> Tensor:
    """Draws K filters of each image; the model runs forward once, and back at least K times.

    Args:
        method: `Deconvnet` or `GuidedBackprop` on the model; its own layer is of no account.
        inputs: (B, C, H, W) as the model takes them.
        filters: B rows of K filters.
        axes: the dimension of a layer's output along which its channels lie, by the layer's name; 1 where it is absent.
        floors: (B, K) activations; a map of activations starts from what stands out above its floor. Of no account for
            layers without places.

    Returns:
        (B, K, C, H, W), without floors each what ``type(method)(model, layer).attribute(inputs, channel=channel)`` gives.

    Raises:
        ValueError: as of `Deconvnet.attribute`, for an unknown layer or channel, and for rows that differ in length.
    """
    if len(filters) != len(inputs) or len({len(row) for row in filters}) != 1:
        raise ValueError(f"filters must be {len(inputs)} rows of equal length, one row an image.")
    slots = _slots(filters)
    with behind_glass(method.model), torch.inference_mode(mode=False):
        maps = inputs.new_zeros(len(inputs), len(filters[0]), *inputs.shape[1:])
        pixels = inputs.detach().clone().requires_grad_()
        with torch.enable_grad(), method.intercepting(), captured(method.model, list(slots)) as outputs:
            method.model(pixels.clone())
        for layer, rounds in slots.items():
            output = outputs[layer].movedim(axes.get(layer, 1), 1)
            starts = [_start(method, output.detach(), layer, one, floors) for one in rounds]
            for one, arrived in zip(rounds, send_back(output, pixels, starts, keep_graph=True), strict=True):
                for image, (place, _) in one.items():
                    maps[image, place] = arrived[image]
    return maps


def _slots(filters: Sequence[Sequence[Filter]]) -> dict[str, list[dict[int, tuple[int, int]]]]:
    """By layer its backward passes: which images take part in each, with what place among their K and what channel."""
    slots: dict[str, list[dict[int, tuple[int, int]]]] = defaultdict(list)
    for image, row in enumerate(filters):
        used: dict[str, int] = defaultdict(int)
        for place, (layer, channel) in enumerate(row):
            if used[layer] == len(slots[layer]):
                slots[layer].append({})
            slots[layer][used[layer]][image] = (place, channel)
            used[layer] += 1
    return slots


def _start(
    method: Deconvnet, output: Tensor, layer: str, chosen: Mapping[int, tuple[int, int]], floors: Tensor | None
) -> Tensor:
    """What the pass starts from: the signal of each chosen image. What the others send back is not looked at."""
    channels = torch.zeros(len(output), dtype=torch.int64, device=output.device)
    for image, (_, channel) in chosen.items():
        if not 0 <= channel < output.shape[1]:
            raise ValueError(f"Layer {layer!r} has channels 0 to {output.shape[1] - 1}, not {channel}.")
        channels[image] = channel
    if floors is not None and output.ndim > 2:
        floor = torch.zeros(len(output), dtype=output.dtype, device=output.device)
        for image, (place, _) in chosen.items():
            floor[image] = floors[image, place]
        output = (output - floor.view(-1, *[1] * (output.ndim - 1))).clamp(min=0)
    return method.start_of(output, channels)
