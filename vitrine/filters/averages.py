"""Average images: what the image patches have in common on which a filter responds most.

Oramas, Wang and Tuytelaars, Visual Explanation by Interpretation, ICLR 2019, section 4.1 and figures 5, 13 to 15.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeVar, get_args

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vitrine.core.batch import Batch
from vitrine.core.distributed import world_size
from vitrine.core.top_k import TopImage, TopImages
from vitrine.filters.patches import Box, FilterPainter, PatchMean, cut, fitted
from vitrine.filters.peaks import WantedFilter, of_its_class, peaks
from vitrine.filters.receptive_field.receptive_field import ReceptiveFields
from vitrine.filters.responses import FilterResponses

T = TypeVar("T")
Advance = Callable[[int], None]
RankBy = Literal["response", "maximum"]
Request = tuple[int, TopImage]
"""A wanted filter's number, and an image that it is to be drawn on."""

IMAGES_AT_ONCE, FILTERS_AT_ONCE = 8, 8


@dataclass(frozen=True)
class AverageImage:
    """Means over the patches on which one filter responds most, all of one size (h, w), float64."""

    wanted: WantedFilter
    """The filter."""
    images: list[TopImage]
    """Those that the patches are cut from, highest response first."""
    pixels: Tensor
    """(C, h, w), normalised as the backbone takes images: 0 is the mean colour, with which patches are padded."""
    activation: Tensor | None
    """(h, w): the filter's own map, upsampled; None for a layer without places."""
    guided_backprop: Tensor
    """(h, w): deconvnet with guided backprop, of each pixel the largest absolute value over its colours."""
    heatmap: Tensor
    """(h, w): the same taken back with stride 1, the paper's own."""


def average_images(
    stream: Callable[[], Iterable[Batch]],
    responses: FilterResponses,
    wanted: Sequence[WantedFilter],
    image_shape: tuple[int, int, int],
    *,
    top: int = 100,
    rank_by: RankBy = "response",
    side: int = 96,
    device: torch.device | str = "cpu",
    advance: Advance | None = None,
) -> list[AverageImage]:
    """Average images of filters over a data set, in two passes over it and flat memory; a collective.

    The first pass finds, for each filter, the ``top`` images of highest response x (`TopImages`) and where its map has its
    maximum. The second one cuts from each of them the receptive field of that place: of the pixels, and of three maps of the
    filter, each over its own largest absolute value so that all images count alike. Where a field reaches over the border,
    pixels are padded with the mean colour and maps with 0. A field larger than the image is cut to the image's size about
    its middle. Patches are brought to the same size, at most ``side`` pixels, and averaged.

    Args:
        stream: gives this process's share of the batches, with image and key (and label for filters that are wanted on
            one class), anew at each call and the same ones each time; every image counts once over all processes.
        responses: the filter responses, on a frozen backbone.
        wanted: p filters.
        image_shape: (C, H, W) of the images.
        top: images a filter.
        rank_by: which images count as those of highest response: by ``response`` x, which is a norm over the whole map and
            counts negative activations like positive ones, or by the filter's own signed ``maximum``.
        side: of an average image at most, in pixels.
        device: where the backbone is.
        advance: called with the number of images that were seen, in both passes.

    Returns:
        One for each wanted filter that responds to any image, in their order; the same on all processes.

    Raises:
        ValueError: for another word, and where the stream gives other images the second time.
    """
    found = find_top_images(stream(), responses, wanted, top, rank_by=rank_by, device=device, advance=advance)
    boxes = _Boxes(responses.backbone.model, image_shape)
    shapes = [fitted(boxes.of(wanted[n], found[n][0]).size, side) if found[n] else (1, 1) for n in range(len(wanted))]
    means = [PatchMean(image_shape[0] + 3, shape) for shape in shapes]
    rank = dist.get_rank() if world_size() > 1 else 0
    painter = FilterPainter(responses.backbone.model, responses.layers)
    for stack, (number, image) in _drawn(stream(), found.of_rank(rank), wanted, painter, device, advance):
        means[number].add(_each_alike(cut(stack, boxes.of(wanted[number], image)), image_shape[0]))
    for mean in means:
        mean.sum_over_ranks(torch.device(device))
    _check_complete(found, means)
    return [_finished(wanted[n], found[n], mean.mean()) for n, mean in enumerate(means) if found[n]]


def find_top_images(
    batches: Iterable[Batch],
    responses: FilterResponses,
    wanted: Sequence[WantedFilter],
    count: int = 100,
    *,
    rank_by: RankBy = "response",
    device: torch.device | str = "cpu",
    advance: Advance | None = None,
) -> TopImages:
    """The images of highest response of each wanted filter over all processes, in one pass; see `average_images`."""
    if rank_by not in get_args(RankBy):
        raise ValueError(f"rank_by {rank_by!r} is unknown; choose one of {', '.join(get_args(RankBy))}.")
    found = TopImages(count, len(wanted))
    for batch in batches:
        at = peaks(responses, batch["image"].to(device), wanted)
        values = at.responses if rank_by == "response" else at.maxima
        limited = of_its_class(values, batch["label"], wanted) if "label" in batch else values
        found.update(limited, batch["key"], at.locations)
        if advance is not None:
            advance(len(batch["key"]))
    found.merge_over_ranks()
    return found


class _Boxes:
    """The pixels that are cut for an image of a filter."""

    def __init__(self, model: nn.Module, image_shape: tuple[int, int, int]) -> None:
        self.image_shape = image_shape
        self.fields_of = cache(lambda layer: ReceptiveFields(model, layer, image_shape))

    def of(self, wanted: WantedFilter, image: TopImage) -> Box:
        field = self.fields_of(wanted.layer.name).of(image.location, wanted.channel, clip=False)
        return Box(*field).at_most(*self.image_shape[1:])


def _drawn(
    batches: Iterable[Batch],
    requests: dict[str, list[Request]],
    wanted: Sequence[WantedFilter],
    painter: FilterPainter,
    device: torch.device | str,
    advance: Advance | None,
) -> Iterator[tuple[Tensor, Request]]:
    """The painter's planes (C + 3, H, W) for each request, each once; images that nothing is asked of are passed over."""
    waiting = dict(requests)
    for batch in batches:
        asked = [(row, waiting.pop(key)) for row, key in enumerate(batch["key"]) if key in waiting]
        for rows, several in _rectangles(asked, wanted):
            images = batch["image"][rows].to(device)
            filters = [[(wanted[n].layer.name, wanted[n].channel) for n, _ in few] for few in several]
            for planes, few in zip(painter(images, filters), several, strict=True):
                yield from zip(planes, few, strict=True)
        if advance is not None:
            advance(len(batch["key"]))


def _rectangles(
    asked: Sequence[tuple[int, list[Request]]], wanted: Sequence[WantedFilter]
) -> Iterator[tuple[list[int], list[Sequence[Request]]]]:
    """Rows with equally many requests each, all of one layer, few enough of both to be drawn at once."""
    groups: dict[tuple[str, int], list[tuple[int, Sequence[Request]]]] = defaultdict(list)
    for row, requests in asked:
        for layer, of_layer in _by_layer(requests, wanted).items():
            for few in _split(of_layer, FILTERS_AT_ONCE):
                groups[layer, len(few)].append((row, few))
    for group in groups.values():
        for part in _split(group, IMAGES_AT_ONCE):
            yield [row for row, _ in part], [few for _, few in part]


def _by_layer(requests: Sequence[Request], wanted: Sequence[WantedFilter]) -> dict[str, list[Request]]:
    """A backward pass from a layer serves all images of a batch, and should have something to do for each of them."""
    found = defaultdict(list)
    for request in requests:
        found[wanted[request[0]].layer.name].append(request)
    return found


def _split(entries: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (entries[start : start + size] for start in range(0, len(entries), size))


def _each_alike(patch: Tensor, colours: int) -> Tensor:
    """The patch with each map, which stand behind the colours, over its largest absolute value."""
    maps = patch[colours:]
    largest = maps.abs().amax(dim=(1, 2), keepdim=True)
    return torch.cat([patch[:colours], maps / largest.where(largest > 0, 1)])


def _check_complete(found: TopImages, means: Sequence[PatchMean]) -> None:
    for number, mean in enumerate(means):
        if mean.count != len(found[number]):
            raise ValueError(
                f"The second pass over the data gave {mean.count} of the {len(found[number])} images that the first one"
                " chose; stream the same images both times, without augmentation or shuffling."
            )


def _finished(wanted: WantedFilter, images: list[TopImage], planes: Tensor) -> AverageImage:
    activation, guided, heatmap = planes[-3:]
    has_places = images[0].location is not None
    return AverageImage(wanted, images, planes[:-3], activation if has_places else None, guided, heatmap)
