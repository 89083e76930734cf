"""Heatmaps of several filters an image, each of any layer, from one forward pass (Oramas et al., ICLR 2019, section 3.2)."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from vitrine.attribution.gradient.deconvnet import Deconvnet
from vitrine.backbones.guard import eval_guard
from vitrine.backbones.taps import captured

Filter = tuple[str, int]
"""Dotted name of a layer, and the index of one of its channels."""


def filter_heatmaps(
    method: Deconvnet,
    inputs: Tensor,
    filters: Sequence[Sequence[Filter]],
    axes: Mapping[str, int] = MappingProxyType({}),
    thresholds: Tensor | None = None,
) -> Tensor:
    """Draws K filters of each image; the model runs forward once, and back K times.

    Args:
        method: `Deconvnet` or `GuidedBackprop` on the model; its own layer is of no account.
        inputs: (B, C, H, W) as the model takes them.
        filters: B rows of K filters.
        axes: the dimension of a layer's output along which its channels lie, by the layer's name; 1 where it is absent.
        thresholds: (B, K) activations; a map of activations starts from what stands out above its threshold. Not used for
            layers without places.

    Returns:
        (B, K, C, H, W), without thresholds each what ``type(method)(model, layer).attribute(inputs, channel=channel)`` gives.

    Raises:
        ValueError: as of `Deconvnet.attribute`, for an unknown layer or channel, and for rows that differ in length.
    """
    if len(filters) != len(inputs) or len({len(row) for row in filters}) != 1:
        raise ValueError(f"filters must be {len(inputs)} rows of equal length, one row an image.")
    layers = list(dict.fromkeys(layer for row in filters for layer, _ in row))
    with eval_guard(method.model), torch.inference_mode(mode=False):
        pixels = inputs.detach().clone().requires_grad_()
        with torch.enable_grad(), method.intercepting(), captured(method.model, layers) as outputs:
            method.model(pixels.clone())
        ends = {layer: outputs[layer].movedim(axes.get(layer, 1), 1) for layer in layers}
        passes = [
            _starts(method, ends, [row[place] for row in filters], place, thresholds)
            for place in range(len(filters[0]))
        ]
        maps = []
        for number, starts in enumerate(passes, start=1):
            # Images do not mix, so that one pass serves all of them, each from its own layer.
            (arrived,) = torch.autograd.grad(
                [ends[layer] for layer in starts],
                pixels,
                list(starts.values()),
                retain_graph=number < len(passes),
                materialize_grads=True,
            )
            maps.append(arrived)
    return torch.stack(maps, dim=1)


def _starts(
    method: Deconvnet, ends: Mapping[str, Tensor], filters: Sequence[Filter], place: int, thresholds: Tensor | None
) -> dict[str, Tensor]:
    """What a pass starts from, by layer: of each image the signal of its own filter."""
    starts = {}
    for layer in dict.fromkeys(layer for layer, _ in filters):
        output = ends[layer].detach()
        own = [image for image, (other, _) in enumerate(filters) if other == layer]
        channels = torch.tensor([filters[image][1] for image in own], device=output.device)
        wrong = channels[(channels < 0) | (channels >= output.shape[1])]
        if len(wrong):
            raise ValueError(f"Layer {layer!r} has channels 0 to {output.shape[1] - 1}, not {int(wrong[0])}.")
        above = output[own] if thresholds is None else _above(output[own], thresholds[own, place])
        starts[layer] = torch.zeros_like(output)
        starts[layer][own] = method.cotangent(above, channels)
    return starts


def _above(output: Tensor, threshold: Tensor) -> Tensor:
    """What stands out above (B,) thresholds of (B, n, …) maps; vectors as they are."""
    if output.ndim == 2:
        return output
    return (output - threshold.to(output).view(-1, *[1] * (output.ndim - 1))).clamp(min=0)
