"""Two objects, two masks (section 4.1.2, Fig. 3): does the mask of each class lie on its object?

Two images of different classes that the network recognises stand side by side on one canvas, squashed or cropped to half of
their width; only canvases count on which both classes are still among the network's --top. The maps of both classes are made
together. Measured, over all maps: the share of a map's positive part in its object's half (50 % for a map that does not tell
them apart), and whether its maximum is there; over pairs, whether the left class's map has the larger share of the left half
(half a point for one map twice), and Pearson's r of the two maps. Void are degenerate maps, whose maximum is nowhere.

Stage 1 of an inversion knows of no class: its two maps are one.
"""

import argparse
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import add_common_options, machine, show, write_figures
from benchmarks.inversion_experiments.methods import (
    INVERSIONS,
    RELEASED_STAGE_1,
    STAGE_1,
    Explained,
    Maps,
    add_rows,
    cell,
    each_row,
    maps_of,
    mean,
    show_refused,
)
from benchmarks.inversion_experiments.pictures import laid_over, plain, shown, write_rows
from benchmarks.inversion_experiments.sources import Source, add_sources, check_sources, recognised, sources_of
from benchmarks.inversion_experiments.stimuli import CANVASES, Pair, correlations, first_pairs, half_boxes, pairs
from benchmarks.method_table import Entry
from vitrine.metrics.functional import box_region, degenerate, energy_inside, pointing_hit

COLUMNS = ("method", "mass in own half %", "max. there %", "pairs in order %", "r", "void", "s a map")

TIE = 1e-9
"""Shares that differ by so little are those of one map."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """All options."""
    add_sources(parser)
    add_rows(parser, STAGE_1, *INVERSIONS, "GradCAM", "ExcitationBackprop+c-MWP", "GuidedBackprop")
    parser.add_argument("--count", type=int, default=50, help="pairs (%(default)s)")
    add_canvas(parser)
    parser.add_argument("--rows", type=int, default=6, help="pairs in a picture (%(default)s)")
    add_common_options(parser, "runs/benchmarks/inversion_discrimination.json")


def add_canvas(parser: argparse.ArgumentParser) -> None:
    """--canvas and --top."""
    parser.add_argument(
        "--canvas", choices=CANVASES, default="squashed", help="how images are made narrow (%(default)s)"
    )
    parser.add_argument(
        "--top", type=int, default=5, help="both classes are among so many, 0 for no demand (%(default)s)"
    )


def figures_of(maps: Tensor) -> dict[str, Any]:
    """Of (P, 2, S, S) maps of the classes in the left and the right half."""
    count, _, _, side = maps.shape
    boxes = half_boxes(side)
    left, right = (box_region(box, (side, side)).expand(count, side, side) for box in boxes)
    own = torch.stack([energy_inside(maps[:, 0], left), energy_inside(maps[:, 1], right)], dim=1)
    hits = torch.stack([pointing_hit(maps[:, n], [box] * count, tolerance=0) for n, box in enumerate(boxes)], dim=1)
    lead = own.sum(dim=1) - 1  # the left map's share of the left half, less the right map's
    ordered = torch.where(lead.abs() <= TIE, 0.5, (lead > 0).double())
    return {
        "own_half": mean(own),
        "left_maps_own_half": mean(own[:, 0]),
        "maximum_in_own_half": float(hits.nan_to_num(0).mean()),
        "in_order": float(ordered.mean()),
        "correlation": mean(correlations(maps[:, 0], maps[:, 1])),
        "degenerate": int(degenerate(maps.flatten(0, 1)).sum()),
    }


def run(parser: argparse.ArgumentParser, args: argparse.Namespace) -> dict[str, Any]:
    """Measures all networks, and returns the figures."""
    check_sources(parser, args)
    figures: dict[str, Any] = {}
    for source in sources_of(args):
        for network in source.networks:
            explained = Explained.build(network, args)
            figures.setdefault(source.name, {})[network.name] = _measure(source, explained, args)
            write_figures(args.out, args, {"sets": figures})
    return figures


def _measure(source: Source, explained: Explained, args: argparse.Namespace) -> dict[str, Any]:
    scenes = recognised(source.scenes(args.seed), explained.model, args.device)
    kept, tried = first_pairs(pairs(scenes, explained.model, args.device, args.canvas, args.top), args.count)
    images, classes = torch.stack([pair.image for pair in kept]), torch.tensor([pair.classes for pair in kept])
    drawn: dict[str, Maps] = {}

    def measure(name: str, entry: Entry) -> dict[str, Any]:
        drawn[name] = maps_of(entry, explained, images, classes, args, name)
        return figures_of(drawn[name].maps) | {"seconds": drawn[name].seconds}

    methods = each_row(args, measure)
    title = f"Two objects: {source.name}, {explained.name}, {len(kept)} pairs of {tried} canvases ({machine()})"
    show(title, COLUMNS, [_row(name, found) for name, found in methods.items()])
    show_refused(methods)
    if args.pictures:
        rows = [_cells(pair, place, drawn, source) for place, pair in enumerate(kept[: args.rows])]
        write_rows(
            args.pictures,
            f"two_objects_{source.name}_{explained.name}",
            rows,
            f"{explained.name}: masks of two classes",
        )
    return {"pairs": len(kept), "canvases": tried, "names": [pair.names for pair in kept], "methods": methods}


def _row(name: str, found: dict[str, Any]) -> list[str]:
    if "refused" in found:
        return [name, "refused", *[""] * (len(COLUMNS) - 2)]
    shares = [cell(found[key]) for key in ("own_half", "maximum_in_own_half", "in_order")]
    return [
        name,
        *shares,
        cell(found["correlation"], percent=False),
        str(found["degenerate"]),
        cell(found["seconds"], percent=False),
    ]


def _cells(pair: Pair, place: int, drawn: dict[str, Maps], source: Source) -> list[tuple[str, Any]]:
    colours = shown(pair.image, source.preprocessing)
    chances = " and ".join(f"{100 * chance:.0f} %" for chance in pair.chances)
    cells = [plain(f"{pair.classes[0]} and {pair.classes[1]}\n{chances}", colours)]
    for name, found in drawn.items():
        sides = [("both", 0)] if name in {STAGE_1, RELEASED_STAGE_1} else [("left", 0), ("right", 1)]
        cells += [laid_over(f"{name}\n{side}", colours, found.maps[place, number]) for side, number in sides]
    return cells
