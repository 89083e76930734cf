"""Average images of filters: the mean of the image patches to which a filter responds most.

Oramas, Wang and Tuytelaars, Visual Explanation by Interpretation, ICLR 2019, section 4.1 and figures 5, 13 to 15.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor, nn

from vitrine.attribution.autograd.backward import zero_input
from vitrine.attribution.receptive_field.cell_centers import centers_of_layer
from vitrine.attribution.receptive_field.receptive_field import ReceptiveFields
from vitrine.backbones.guard import eval_guard
from vitrine.core.batch import Batch
from vitrine.core.distributed import global_rank
from vitrine.core.options import Count, CountOrZero, checked
from vitrine.core.top_k import TopImage, TopImages
from vitrine.filters.heatmaps import FilterVisualizer
from vitrine.filters.maxima import Advance, RankBy, TargetFilter, find_top_images
from vitrine.filters.patches import Box, PatchMean, crop, fit_size
from vitrine.filters.responses import FilterResponses
from vitrine.filters.token_layers import token_of

T = TypeVar("T")
Request = tuple[int, TopImage]
"""Index of a filter, and an image on which it is to be visualised."""

IMAGES_AT_ONCE, FILTERS_AT_ONCE = 8, 8


@dataclass(frozen=True)
class AverageImage:
    """Means over the patches to which one filter responds most, all of one size (h, w), float64."""

    target: TargetFilter
    """The filter."""
    images: list[TopImage]
    """The images of the patches, by falling response."""
    pixels: Tensor
    """(C, h, w), normalised for the backbone: 0 is the mean colour, with which patches are padded."""
    activation: Tensor | None
    """(h, w): the filter's activation map, upsampled; None for a layer without spatial locations."""
    guided_backprop: Tensor
    """(h, w): guided backprop, the largest absolute value over colours."""
    heatmap: Tensor
    """(h, w): guided backprop with stride 1, the paper's own heatmap."""


@checked
def average_images(
    stream: Callable[[], Iterable[Batch]],
    responses: FilterResponses,
    filters: Sequence[TargetFilter],
    image_shape: tuple[int, int, int],
    *,
    top_k: Count = 100,
    rank_by: RankBy = "response",
    side: Count = 96,
    peak_cells: CountOrZero = 4,
    device: torch.device | str = "cpu",
    advance: Advance | None = None,
) -> list[AverageImage]:
    """Average images of filters over a data set, in two passes over it and constant memory; a collective.

    The first pass finds, for each filter, the ``top_k`` images of highest response x (`find_top_images`) and the locations of
    its maxima. The second pass crops each of these images to the receptive field of that location: its pixels, and three
    maps of the filter, each divided by its own largest absolute value so that all images have the same weight. Beyond the
    border, pixels are padded with the mean colour and maps with 0. A field larger than the image is shrunk to the image's
    size about its centre. Patches are resized to one size, at most ``side`` pixels, and averaged.

    Args:
        stream: returns this process's share of the batches, with image and key (and label for filters with ``of_class``); the
            same batches at each call. Over all processes, every image must occur once.
        responses: the filter responses, on a frozen backbone.
        filters: p filters.
        image_shape: (C, H, W) of the images.
        top_k: number of images of each filter.
        rank_by: as in `find_top_images`.
        side: largest side of an average image, in pixels.
        peak_cells: where the receptive field is the whole image, as after attention, or a squeeze-and-excitation gate, the
            patch is so many cells of the layer's map wide and high about the filter's maximum; 0 takes the whole image.
        device: that of the backbone.
        advance: called with the number of images that were read, in both passes.

    Returns:
        One for each filter that responds to any image, in their order; the same on all processes.

    Raises:
        OptionError: for another ``rank_by``, or a number below 1.
        ValueError: where the stream yields other images at the second call.
    """
    top_images = find_top_images(stream(), responses, filters, top_k, rank_by=rank_by, device=device, advance=advance)
    patch_boxes = _PatchBoxes(responses.backbone.model, image_shape, peak_cells)
    shapes = [
        fit_size(patch_boxes.of(target, images[0]).size, side) if images else (1, 1)
        for target, images in zip(filters, top_images, strict=True)
    ]
    means = [PatchMean(image_shape[0] + 3, shape) for shape in shapes]
    visualizer = FilterVisualizer(responses.backbone.model, responses.layers)
    requests = top_images.of_rank(global_rank())
    for planes, (index, image) in _visualize(stream(), requests, filters, visualizer, device, advance):
        means[index].add(_normalise_maps(crop(planes, patch_boxes.of(filters[index], image)), image_shape[0]))
    for mean in means:
        mean.sum_over_ranks(torch.device(device))
    _check_complete(top_images, means)
    results = zip(filters, top_images, means, strict=True)
    return [_average_image(target, images, mean.mean()) for target, images, mean in results if images]


class _PatchBoxes:
    """The receptive field of a filter's maximum in an image, at most as large as the image, or the cells about it."""

    def __init__(self, model: nn.Module, image_shape: tuple[int, int, int], peak_cells: int) -> None:
        self.model, self.image_shape, self.peak_cells = model, image_shape, peak_cells
        self.fields_of_layer = cache(lambda layer: ReceptiveFields(model, layer.module, image_shape, layer.grid))

    def of(self, target: TargetFilter, image: TopImage) -> Box:
        if token_of(target.layer.name) is not None:
            return Box(0, 0, self.image_shape[2], self.image_shape[1])
        fields = self.fields_of_layer(target.layer)
        box = Box(*fields.of(image.location, target.channel, clip=False))
        _, height, width = self.image_shape
        if self.peak_cells and image.location is not None and box == (0, 0, width, height):
            return self._about(image.location, fields.map_size or (1, 1), target.layer.module)
        return box.shrink_to(height, width)

    def _about(self, location: tuple[int, int], cells: tuple[int, int], module: str) -> Box:
        """The box of some cells about a location; of the whole image where these are as many as there are."""
        with eval_guard(self.model), torch.inference_mode(mode=False):
            centers = centers_of_layer(self.model, zero_input(self.model, self.image_shape), module)
        ranges = []
        for axis, length in enumerate(self.image_shape[1:]):
            step = length / cells[axis]
            center = (location[axis] + 0.5) * step if centers is None else centers[axis][location[axis]]
            size = min(round(self.peak_cells * step), length)
            first = round(center - size / 2) if size < length else 0
            ranges.append((first, first + size))
        (y0, y1), (x0, x1) = ranges
        return Box(x0, y0, x1, y1)


def _visualize(
    batches: Iterable[Batch],
    requests: dict[str, list[Request]],
    filters: Sequence[TargetFilter],
    visualizer: FilterVisualizer,
    device: torch.device | str,
    advance: Advance | None,
) -> Iterator[tuple[Tensor, Request]]:
    """The visualizer's planes (C + 3, H, W) for each request, once; images without a request are skipped."""
    remaining = dict(requests)
    for batch in batches:
        of_batch = [(image, remaining.pop(key)) for image, key in enumerate(batch["key"]) if key in remaining]
        for images, of_images in _groups(of_batch, filters):
            names = [
                [(filters[index].layer.name, filters[index].channel) for index, _ in of_image] for of_image in of_images
            ]
            planes = visualizer(batch["image"][images].to(device), names)
            for planes_of_image, of_image in zip(planes, of_images, strict=True):
                yield from zip(planes_of_image, of_image, strict=True)
        if advance is not None:
            advance(len(batch["key"]))


def _groups(
    requests: Sequence[tuple[int, list[Request]]], filters: Sequence[TargetFilter]
) -> Iterator[tuple[list[int], list[Sequence[Request]]]]:
    """Groups of images with equally many requests each, all for one layer, small enough to be visualised at once.

    A backward pass starts from one layer and serves all images of a group, so each of them has a filter of that layer.
    """
    groups: dict[tuple[str, int], list[tuple[int, Sequence[Request]]]] = defaultdict(list)
    for image, of_image in requests:
        by_layer = defaultdict(list)
        for request in of_image:
            by_layer[filters[request[0]].layer.name].append(request)
        for layer, of_layer in by_layer.items():
            for part in _split(of_layer, FILTERS_AT_ONCE):
                groups[layer, len(part)].append((image, part))
    for group in groups.values():
        for members in _split(group, IMAGES_AT_ONCE):
            yield [image for image, _ in members], [part for _, part in members]


def _split(entries: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (entries[start : start + size] for start in range(0, len(entries), size))


def _normalise_maps(patch: Tensor, num_colours: int) -> Tensor:
    """The patch with each of its maps, which follow the colours, divided by its largest absolute value."""
    maps = patch[num_colours:]
    largest = maps.abs().amax(dim=(1, 2), keepdim=True)
    return torch.cat([patch[:num_colours], maps / largest.where(largest > 0, 1)])


def _check_complete(top_images: TopImages, means: Sequence[PatchMean]) -> None:
    for index, mean in enumerate(means):
        if mean.count != len(top_images[index]):
            raise ValueError(
                f"The second pass over the data gave {mean.count} of the {len(top_images[index])} images that the first one"
                " found; stream the same images both times, without augmentation or shuffling."
            )


def _average_image(target: TargetFilter, images: list[TopImage], planes: Tensor) -> AverageImage:
    activation, guided_backprop, heatmap = planes[-3:]
    is_spatial = images[0].location is not None
    return AverageImage(target, images, planes[:-3], activation if is_spatial else None, guided_backprop, heatmap)
