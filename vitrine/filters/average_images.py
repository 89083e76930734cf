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

from vitrine.attribution.receptive_field.receptive_field import ReceptiveFields
from vitrine.core.batch import Batch
from vitrine.core.distributed import global_rank
from vitrine.core.options import Count, checked
from vitrine.core.top_k import TopImage, TopImages
from vitrine.filters.heatmaps import FilterVisualizer
from vitrine.filters.maxima import Advance, RankBy, TargetFilter, find_top_images
from vitrine.filters.patches import Box, PatchMean, crop, fit_size
from vitrine.filters.responses import FilterResponses

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
        device: that of the backbone.
        advance: called with the number of images that were read, in both passes.

    Returns:
        One for each filter that responds to any image, in their order; the same on all processes.

    Raises:
        OptionError: for another ``rank_by``, or a number below 1.
        ValueError: where the stream yields other images at the second call.
    """
    top_images = find_top_images(stream(), responses, filters, top_k, rank_by=rank_by, device=device, advance=advance)
    patch_boxes = _PatchBoxes(responses.backbone.model, image_shape)
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
    """The receptive field of a filter's maximum in an image, at most as large as the image."""

    def __init__(self, model: nn.Module, image_shape: tuple[int, int, int]) -> None:
        self.image_shape = image_shape
        self.fields_of_layer = cache(lambda layer: ReceptiveFields(model, layer, image_shape))

    def of(self, target: TargetFilter, image: TopImage) -> Box:
        field = self.fields_of_layer(target.layer.name).of(image.location, target.channel, clip=False)
        return Box(*field).shrink_to(*self.image_shape[1:])


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
