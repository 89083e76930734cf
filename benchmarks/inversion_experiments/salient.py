"""Salient objects (section 4.4.2, Figs. 7 and 8): does the first stage alone, which knows of no class, segment the object?

On sets in the layout of MSRA-B, ECSSD or DUTS, and on birds with their boxes in place of masks, which a method that finds the
object's outline cannot fill: figures there compare methods, not papers. Precision, recall and F (β² = 0.3) where a map is
twice its mean or more, the mean absolute error of the map scaled to 0 … 1, and the largest F over thresholds; images are
squashed to the network's input, and masks with them. Methods that need a class explain the predicted one.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from benchmarks.common import add_common_options, add_networks, machine, show, write_figures
from benchmarks.inversion_experiments.methods import (
    RELEASED_STAGE_1,
    STAGE_1,
    Explained,
    add_rows,
    cell,
    each_row,
    maps_of,
    show_refused,
)
from benchmarks.inversion_experiments.pictures import laid_over, plain, shown, write_rows
from benchmarks.inversion_experiments.sources import probabilities
from benchmarks.localization.images import path_of
from benchmarks.method_maps import spread
from benchmarks.method_table import Entry
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.data.preprocessing import Preprocessing
from vitrine.data.shards.converters.cub import list_cub
from vitrine.data.shards.converters.saliency import SPLITS, list_saliency
from vitrine.data.shards.images import decode
from vitrine.data.shards.masks import encode_mask
from vitrine.data.shards.sample import Sample, upright_boxes
from vitrine.metrics import SaliencyDetection
from vitrine.metrics.functional import box_region

FIGURES = ("precision", "recall", "f", "mae", "max_f")
COLUMNS = ("method", "P %", "R %", "F %", "MAE %", "max F %", "void", "s a map")

MaskOf = Callable[[Sample, int], Tensor]
"""Takes a sample and S to an (S, S) bool mask."""


class Annotated(NamedTuple):
    """Images with masks."""

    name: str
    images: Tensor
    """(N, 3, S, S)."""
    masks: Tensor
    """(N, S, S) bool."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """All options."""
    parser.add_argument("--saliency", type=Path, metavar="FOLDER", help="a set like MSRA-B, ECSSD or DUTS")
    parser.add_argument("--split", choices=SPLITS, default="test", help="of --saliency (%(default)s)")
    parser.add_argument("--cub", type=Path, metavar="FOLDER", help="CUB_200_2011, whose boxes are taken for masks")
    add_networks(parser, "squeezenet1_0", "mobilenet_v2")
    add_rows(parser, STAGE_1, RELEASED_STAGE_1, "InversionMask", "GradCAM", "GaussianCentre")
    parser.add_argument("--count", type=int, default=100, help="images of a set, 0 for all (%(default)s)")
    parser.add_argument("--size", type=int, default=224, help="side of the input (%(default)s)")
    parser.add_argument("--rows", type=int, default=6, help="images in a picture (%(default)s)")
    add_common_options(parser, "runs/benchmarks/inversion_salient.json")


def run(parser: argparse.ArgumentParser, args: argparse.Namespace) -> dict[str, Any]:
    """Measures all networks, and returns the figures."""
    if not (args.saliency or args.cub):
        parser.error("there is nothing to measure on: give --saliency FOLDER or --cub FOLDER.")
    figures: dict[str, Any] = {}
    for annotated in _sets(args):
        for network in args.networks:
            explained = Explained.build(network, args)
            figures.setdefault(annotated.name, {})[network.name] = _measure(annotated, explained, args)
            write_figures(args.out, args, {"sets": figures})
    return figures


def _sets(args: argparse.Namespace) -> list[Annotated]:
    found = []
    if args.saliency:
        found.append(_read(args.saliency.name, list_saliency(args.saliency, args.split).samples, mask_of, args))
    if args.cub:
        found.append(_read("cub", list_cub(args.cub, "test").samples, boxes_of, args))
    return found


def _read(name: str, samples: Sequence[Sample], mask: MaskOf, args: argparse.Namespace) -> Annotated:
    chosen, preprocessing = spread(samples, args.count), Preprocessing(args.size, None)
    images = []
    for sample in chosen:
        with Image.open(path_of(sample)) as image:
            images.append(preprocessing(image))
    return Annotated(name, torch.stack(images), torch.stack([mask(sample, args.size) for sample in chosen]))


def mask_of(sample: Sample, size: int) -> Tensor:
    """The mask of a saliency set, squashed."""
    data = sample.mask.read_bytes() if isinstance(sample.mask, Path) else b""
    mask = encode_mask(data, str(sample.mask)).data
    grey = decode(mask, sample.name).resize((size, size), Image.Resampling.NEAREST)
    return torch.frombuffer(bytearray(grey.tobytes()), dtype=torch.uint8).view(size, size) != 0


def boxes_of(sample: Sample, size: int) -> Tensor:
    """What a sample's boxes cover, squashed."""
    with Image.open(path_of(sample)) as image:
        boxes, sides = upright_boxes(sample, image)
    corners = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)
    return box_region(corners * size / torch.tensor(sides * 2), (size, size))


def figures_of(maps: Tensor, masks: Tensor) -> dict[str, Any]:
    """Of (N, S, S) maps, negative values cut, and bool masks."""
    metric, none = SaliencyDetection(), torch.zeros(len(maps), dtype=torch.int64)
    heat = maps.clamp(min=0)[:, None]
    explanation = Explanation(
        heat, torch.ones(len(maps), 1), [["map"]] * len(maps), none, none, torch.zeros(len(maps), 1)
    )
    metric.update(explanation, Batch(mask=masks[:, None]))
    found = {name.removeprefix("saliency/"): float(value) for name, value in metric.compute().items()}
    return {name: found[name] for name in (*FIGURES, "mean_f", "degenerate", "skipped")}


def _measure(annotated: Annotated, explained: Explained, args: argparse.Namespace) -> dict[str, Any]:
    images = annotated.images
    parts = [probabilities(explained.model, part.to(args.device)) for part in torch.split(images, args.batch_size)]
    classes = torch.cat(parts).argmax(dim=1)
    drawn: dict[str, Tensor] = {}

    def measure(name: str, entry: Entry) -> dict[str, Any]:
        found = maps_of(entry, explained, images, classes[:, None], args, name)
        drawn[name] = found.maps[:, 0]
        return figures_of(drawn[name], annotated.masks) | {"seconds": found.seconds}

    methods = each_row(args, measure)
    area = float(annotated.masks.double().mean())
    title = f"Salient objects: {annotated.name}, {explained.name}, {len(images)} images, {cell(area)} % of them object"
    show(f"{title} ({machine()})", COLUMNS, [_row(name, found) for name, found in methods.items()])
    show_refused(methods)
    if args.pictures:
        rows = [_cells(annotated, place, drawn, args) for place in range(min(args.rows, len(images)))]
        write_rows(
            args.pictures, f"salient_{annotated.name}_{explained.name}", rows, f"{explained.name}: salient objects"
        )
    return {"images": len(images), "area": area, "methods": methods}


def _row(name: str, found: dict[str, Any]) -> list[str]:
    if "refused" in found:
        return [name, "refused", *[""] * (len(COLUMNS) - 2)]
    cells = [cell(found[key]) for key in FIGURES]
    return [name, *cells, str(int(found["degenerate"])), cell(found["seconds"], percent=False)]


def _cells(
    annotated: Annotated, place: int, drawn: dict[str, Tensor], args: argparse.Namespace
) -> list[tuple[str, Any]]:
    colours = shown(annotated.images[place], Preprocessing(args.size, None))
    truth = plain("annotated", annotated.masks[place].float().expand(3, -1, -1))
    return [plain("image", colours), truth, *(laid_over(name, colours, maps[place]) for name, maps in drawn.items())]
