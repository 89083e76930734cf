"""Heatmaps of filters: several filters of each image, of any layers, in one forward pass (Oramas et al., ICLR 2019)."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor, nn

from vitrine.attribution.autograd.gradient_flow import check_gradient, differentiating
from vitrine.attribution.autograd.loss_scaling import scaled_gradients
from vitrine.attribution.cam.alignment import upsampled_by
from vitrine.attribution.gradient.deconvnet import Deconvnet, GuidedBackprop, met_rectifier
from vitrine.attribution.receptive_field.cell_centers import CellCenters, centers_of_layer
from vitrine.backbones.guard import eval_guard
from vitrine.backbones.partial_passes import outputs_of
from vitrine.core.precision import in_full
from vitrine.filters.layers import ResponseLayer
from vitrine.filters.token_layers import module_of

Filter = tuple[str, int]
"""Name of a layer, as in `ResponseLayer`, and index of one of its channels."""
View = Callable[[Tensor], Tensor]


def filter_heatmaps(
    method: Deconvnet,
    inputs: Tensor,
    filters: Sequence[Sequence[Filter]],
    views: Mapping[str, View] = MappingProxyType({}),
    thresholds: Tensor | None = None,
) -> Tensor:
    """Heatmaps of K filters of each image (section 3.2); the model runs forward once and backward K times.

    Args:
        method: `Deconvnet` or `GuidedBackprop` on the model; its own layer is ignored.
        inputs: (B, C, H, W), normalised for the model.
        filters: K filters for each of the B images.
        views: by layer name, what rearranges the output of its module to (B, n, …), such as `ResponseLayer.filters_first`;
            the output as it is where it is absent.
        thresholds: (B, K) activation thresholds: the signal starts from max(map − threshold, 0). Ignored for layers without
            spatial locations.

    Returns:
        (B, K, C, H, W); without thresholds, what ``type(method)(model, layer).attribute(inputs, channel=channel)`` returns
        for each.

    Raises:
        ValueError: as from `Deconvnet.attribute`, for an unknown layer or channel, and where images differ in K.
    """
    if len(filters) != len(inputs) or len({len(of_image) for of_image in filters}) != 1:
        raise ValueError(f"filters must be {len(inputs)} lists of equal length, one for each image.")
    num_filters = len(filters[0])
    layers = list(dict.fromkeys(layer for of_image in filters for layer, _ in of_image))
    modules = list(dict.fromkeys(map(module_of, layers)))
    with eval_guard(method.model), torch.inference_mode(mode=False):
        pixels, outputs = _outputs(method, inputs, modules)
        channels_first = {layer: views.get(layer, _as_it_is)(outputs[module_of(layer)]) for layer in layers}
        passes = [
            _start_signals(method, channels_first, [of_image[k] for of_image in filters], k, thresholds)
            for k in range(num_filters)
        ]
        maps = []
        for k, signals in enumerate(passes):
            # Images do not mix, so one backward pass serves all of them, each from its own layer.
            (map_,) = scaled_gradients(
                [channels_first[layer] for layer in signals],
                [pixels],
                list(signals.values()),
                retain_graph=k < num_filters - 1,
            )
            maps.append(map_)
    return in_full(torch.stack(maps, dim=1))


def check_filters(method: Deconvnet, inputs: Tensor, layers: Sequence[ResponseLayer]) -> None:
    """Makes sure that filters of layers can be drawn, by one backward pass from all of them, whatever it gives.

    Args:
        method: as in `filter_heatmaps`.
        inputs: (B, C, H, W), such as an image of noise.
        layers: any number of them.

    Raises:
        ValueError: as from `filter_heatmaps`.
        RuntimeError: from the backward pass of an operator.
    """
    with eval_guard(method.model), torch.inference_mode(mode=False):
        pixels, outputs = _outputs(method, inputs, list(dict.fromkeys(layer.module for layer in layers)))
        drawn = [layer.filters_first(outputs[layer.module]) for layer in layers]
        scaled_gradients(drawn, [pixels], [filters.detach() for filters in drawn])


def _outputs(method: Deconvnet, inputs: Tensor, modules: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
    """The pixels that a forward pass begins with, and the outputs of modules, from which a method's signals lead back."""
    pixels = inputs.detach().clone().requires_grad_()
    with differentiating(method.model), method.intercepting() as interception:
        outputs = outputs_of(method.model, pixels.clone(), modules, may_end=lambda: met_rectifier(interception))
        for module in modules:
            check_gradient(outputs[module], pixels, method.model, layer=module)
    for module in modules:
        interception.check(outputs[module])
    return pixels, outputs


def _as_it_is(output: Tensor) -> Tensor:
    return output


def _start_signals(
    method: Deconvnet, outputs: Mapping[str, Tensor], filters: Sequence[Filter], k: int, thresholds: Tensor | None
) -> dict[str, Tensor]:
    """The signals that a backward pass starts from, by layer: for each image that of its k-th filter."""
    signals = {}
    for layer in dict.fromkeys(layer for layer, _ in filters):
        output = outputs[layer].detach()
        images = [image for image, (of_image, _) in enumerate(filters) if of_image == layer]
        channels = torch.tensor([filters[image][1] for image in images], device=output.device)
        wrong = channels[(channels < 0) | (channels >= output.shape[1])]
        if len(wrong):
            raise ValueError(f"Layer {layer!r} has channels 0 to {output.shape[1] - 1}, not {int(wrong[0])}.")
        activations = output[images] if thresholds is None else _excess(output[images], thresholds[images, k])
        signals[layer] = torch.zeros_like(output)
        signals[layer][images] = method.cotangent(activations, channels)
    return signals


def _excess(output: Tensor, thresholds: Tensor) -> Tensor:
    """max(map − threshold, 0) of (B, n, …) maps and (B,) thresholds; vectors (B, n) as they are."""
    if output.ndim == 2:
        return output
    return (output - thresholds.to(output).view(-1, *[1] * (output.ndim - 1))).clamp(min=0)


class FilterVisualizer:
    """Visualises filters of any layers on images: activation map, guided backprop, and guided backprop with stride 1.

    Args:
        model: the network, which is not changed.
        layers: the layers that the filters may belong to.
    """

    def __init__(self, model: nn.Module, layers: Sequence[ResponseLayer]) -> None:
        self.model = model
        self.spatial = {layer.name: layer for layer in layers if layer.spatial}
        views = {layer.name: layer.filters_first for layer in layers}
        self.guided_backprop = partial(filter_heatmaps, GuidedBackprop(model), views=views)
        self.stride_one = partial(filter_heatmaps, GuidedBackprop(model, stride_one=True), views=views)

    def __call__(self, images: Tensor, filters: Sequence[Sequence[Filter]]) -> Tensor:
        """(B, K, C + 3, H, W) for (B, C, H, W) images and K filters of each.

        The channels are the C of the image, the activation map, upsampled by the
        receptive fields of its cells where these are known (0 for layers without spatial locations), guided
        backprop, and guided backprop with stride 1. Of the last two, the largest absolute value over the colours is taken
        (Simonyan et al., 2014): in a sum, the signals of a filter for a colour would cancel.
        """
        with torch.inference_mode(mode=False):
            images = images.clone()  # inference tensors cannot be part of a graph
            heatmaps = [draw(images, filters).abs().amax(dim=2) for draw in (self.guided_backprop, self.stride_one)]
            maps = torch.stack([self.activations(images, filters), *heatmaps], dim=2)
            return torch.cat([images[:, None].expand(-1, len(filters[0]), -1, -1, -1), maps], dim=2)

    def activations(self, images: Tensor, filters: Sequence[Sequence[Filter]]) -> Tensor:
        """(B, K, H, W): the filters' activation maps, upsampled; 0 for layers without spatial locations."""
        layers = {layer for of_image in filters for layer, _ in of_image} & self.spatial.keys()
        modules = sorted(set(map(module_of, layers)))
        if not modules:
            return in_full(images).new_zeros(len(images), len(filters[0]), *images.shape[2:])
        with eval_guard(self.model), torch.no_grad():
            outputs = outputs_of(self.model, images.clone(), modules)
            found = {layer: self.spatial[layer].filters_first(outputs[module_of(layer)]) for layer in layers}
        maps = in_full(images).new_zeros(len(images), len(filters[0]), *images.shape[2:])
        for image, of_image in enumerate(filters):
            for k, (layer, channel) in enumerate(of_image):
                if layer in found:
                    map_ = in_full(found[layer][image, channel])
                    maps[image, k] = self._upsampled(map_[None, None], images, module_of(layer))[0, 0]
        return maps

    def _upsampled(self, maps: Tensor, images: Tensor, module: str) -> Tensor:
        def centers() -> CellCenters | None:
            with eval_guard(self.model), torch.inference_mode(mode=False):
                return centers_of_layer(self.model, images, module)

        return upsampled_by("receptive_field", maps, images, centers)
