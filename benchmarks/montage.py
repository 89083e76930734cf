"""Every attribution method on the same images, side by side.

    python -m benchmarks.montage --images DIR --networks squeezenet1_0=squeezenet1_0.pth mobilenet_v2=mobilenet_v2.pth

The predicted class of each image is explained. Writes pages of pictures (an image a row, a method a column), prints what
each method took and how many of its maps say nothing, and writes one JSON. The slow methods run on a part of the images, with
the steps that the table of methods gives them.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from benchmarks.common import add_common_options, add_networks, machine, read_images, show, write_figures
from benchmarks.method_table import METHODS, Entry
from vitrine.attribution.target_layer import target_layer
from vitrine.backbones.guard import eval_guard
from vitrine.backbones.taps import captured
from vitrine.core.atomic_io import atomic_file
from vitrine.data.preprocessing import Preprocessing
from vitrine.metrics.functional import degenerate
from vitrine.visualization.grid import captioned_grid
from vitrine.visualization.overlays import overlay, picture

CELL = 112


def maps_of(entry: Entry, model: nn.Module, layer: str, images: Tensor, seed: int) -> Tensor:
    """(B, H, W): the method's maps of the predicted classes; of a layer's own channels, the map of the strongest."""
    method = entry.build(model, layer, seed)
    if entry.of_a_channel:
        with eval_guard(model), torch.no_grad(), captured(model, [layer]) as outputs:
            model(images)
        maps = method.attribute(images, channel=outputs[layer].mean(dim=(2, 3)).argmax(dim=1))
    else:
        maps = method.attribute(images)
    return entry.read(maps)


def run(
    name: str, entry: Entry, model: nn.Module, layer: str, images: Tensor, batch: int, seed: int
) -> tuple[Tensor | None, dict[str, Any]]:
    """The maps of one method on all images, and its figures; no maps where it refuses the network."""
    batches, started = torch.split(images, batch), time.perf_counter()
    shown = track(batches, name, console=Console(stderr=True), transient=True)
    try:
        maps = torch.cat([maps_of(entry, model, layer, part, seed).cpu() for part in shown])
    except ValueError as error:
        return None, {"images": 0, "refused": str(error)}
    return maps, {
        "images": len(maps),
        "seconds_per_image": (time.perf_counter() - started) / len(maps),
        "degenerate": int(degenerate(maps).sum()),
        "options": entry.options,
    }


def write_pages(folder: Path, images: Tensor, maps: dict[str, Tensor], rows: int) -> list[Path]:
    """One picture for each so many images, as JPEG."""
    paths = []
    for start in range(0, len(images), rows):
        cells = [_row(images[number], number, maps) for number in range(start, min(start + rows, len(images)))]
        paths.append(folder / f"page_{start // rows:03d}.jpg")
        with atomic_file(paths[-1]) as partial:
            captioned_grid(cells).save(partial, quality=88)
    return paths


def _row(image: Tensor, number: int, maps: dict[str, Tensor]) -> list[tuple[str, Image.Image]]:
    tiles = [("image", picture(image).resize((CELL, CELL)))]
    for name, of_all in maps.items():
        if number < len(of_all):
            tiles.append((name, overlay(image, of_all[number], side=CELL)))
    return tiles


def show_figures(title: str, figures: dict[str, dict[str, Any]]) -> None:
    """Prints a row a method."""
    rows: list[Sequence[str]] = []
    for name, found in figures.items():
        if "refused" in found:
            rows.append([name, "refused", "", "", found["refused"]])
        else:
            options = ", ".join(f"{key} {value}" for key, value in found["options"].items())
            cells = [str(found["images"]), f"{found['seconds_per_image']:.3f}", str(found["degenerate"]), options]
            rows.append([name, *cells])
    show(title, ["method", "images", "s/image", "degenerate", "options"], rows)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.montage", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of images")
    add_networks(parser, "squeezenet1_0", "mobilenet_v2")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="(all)", metavar="METHOD")
    parser.add_argument("--count", type=int, default=200, help="images (%(default)s)")
    parser.add_argument("--slow-images", type=int, default=16, help="images of the slow methods (%(default)s)")
    parser.add_argument("--rows", type=int, default=8, help="images a page (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=8, help="images at once (%(default)s)")
    parser.add_argument("--size", type=int, default=224, help="side of the input (%(default)s)")
    add_common_options(parser, "runs/benchmarks/montage.json")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    preprocessing = Preprocessing(args.size, round(args.size * 256 / 224))
    images = read_images(args.images, args.count, preprocessing).to(args.device)
    # The slow methods' images stand first, spread over all.
    first = torch.arange(min(args.slow_images, len(images))) * len(images) // max(min(args.slow_images, len(images)), 1)
    rest = [number for number in range(len(images)) if number not in set(first.tolist())]
    images = images[[*first.tolist(), *rest]]
    figures: dict[str, Any] = {}
    for network in args.networks:
        model = network.build(args.device)
        layer = target_layer(model.requires_grad_(requires_grad=False), images)
        maps, figures[network.name] = {}, {}
        for name in args.methods:
            entry = METHODS[name]
            chosen = images[: len(first)] if entry.slow else images
            found, figures[network.name][name] = run(name, entry, model, layer, chosen, args.batch_size, args.seed)
            if found is not None:
                maps[name] = found
        folder = args.out.parent / f"montage_{network.name}"
        folder.mkdir(parents=True, exist_ok=True)
        pages = write_pages(folder, preprocessing.denormalize(images).cpu(), maps, args.rows)
        show_figures(
            f"{network.name}, layer {layer}, {len(pages)} pages in {folder} ({machine()})", figures[network.name]
        )
        write_figures(args.out, args, {"methods": figures})


if __name__ == "__main__":
    main()
