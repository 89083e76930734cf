"""The grid in heatmaps of lower layers, with and without stride one.

    python -m benchmarks.grid_artifact --images DIR --networks squeezenet1_0=squeezenet1_0.pth mobilenet_v2=mobilenet_v2.pth

For each layer, guided backprop from its strongest filters on each image; the share of the heatmaps' spectral power at the
multiples of 1/2, the period of one strided operator, and of the layer's whole stride; and the contrast of that power to what
stands just beside, which tells a grid from what an image has at these frequencies of its own. Prints a table, writes one JSON
and a picture side by side.
"""

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.progress import track
from torch import Tensor, nn

from benchmarks.common import add_common_options, add_networks, read_images, show, write_figures
from vitrine.attribution import GuidedBackprop
from vitrine.backbones.guard import eval_guard
from vitrine.backbones.taps import captured
from vitrine.core.atomic_io import atomic_file
from vitrine.data.preprocessing import Preprocessing
from vitrine.metrics.grid import grid_contrast, grid_share
from vitrine.visualization.grid import captioned_grid
from vitrine.visualization.overlays import picture, signed_picture

WAYS: dict[str, dict[str, Any]] = {
    "guided backprop": {},
    "stride one": {"stride_one": True},
    "stride one, pooling too": {"stride_one": True, "pooling": "resampled"},
}


def strided_layers(model: nn.Module, images: Tensor, count: int) -> dict[str, int]:
    """The first weighted layers with each total stride above 1, and that stride: ``count`` layers, from the input on."""
    strides: dict[str, int] = {}
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    with eval_guard(model), torch.no_grad(), captured(model, names) as outputs:
        model(images[:1])
    for name, output in outputs.items():
        stride = round(images.shape[-1] / output.shape[-1])
        if stride > 1 and output.shape[-1] > 1:
            strides[name] = stride
    return dict(list(strides.items())[:count])


def strongest_channels(model: nn.Module, layer: str, images: Tensor, count: int) -> Tensor:
    """(B, count) channels with the largest mean of their positive activations."""
    with eval_guard(model), torch.no_grad(), captured(model, [layer]) as outputs:
        model(images)
    return outputs[layer].clamp(min=0).mean(dim=(2, 3)).topk(count, dim=1).indices


def heatmaps(model: nn.Module, layer: str, images: Tensor, channels: Tensor) -> dict[str, Tensor]:
    """(B, K, H, W) by way: guided backprop summed over colours."""
    return {
        way: GuidedBackprop(model, layer, internal_batch_size=8, **options).attribute(images, channel=channels).sum(2)
        for way, options in WAYS.items()
    }


def measure(found: dict[str, Tensor], stride: int) -> dict[str, Any]:
    """Mean share of each way at both periods, its ratio to that of plain guided backprop, and the median contrast."""
    figures: dict[str, Any] = {}
    for period in sorted({2, stride}):
        shares = {way: float(grid_share(maps.flatten(0, 1), period).nanmean()) for way, maps in found.items()}
        figures[f"period {period}"] = shares | {"ratio": shares["stride one"] / shares["guided backprop"]}
        figures[f"period {period}"]["contrast"] = {
            way: float(grid_contrast(maps.flatten(0, 1), period).nanmedian()) for way, maps in found.items()
        }
    return figures


def side_by_side(images: Tensor, rows: Sequence[tuple[str, int, dict[str, Tensor]]]) -> Image.Image:
    """One row a layer: an image, and the heatmap of its strongest filter in each way; the middle 96 pixels, enlarged."""
    cells: list[list[tuple[str, Image.Image]]] = []
    for layer, number, found in rows:
        tiles = [("image", picture(images[number]))]
        tiles += [(f"{layer}: {way}", signed_picture(maps[number, 0])) for way, maps in found.items()]
        cells.append([(caption, _middle(tile)) for caption, tile in tiles])
    return captioned_grid(cells)


def _middle(tile: Image.Image, side: int = 96, shown: int = 288) -> Image.Image:
    left, top = (tile.width - side) // 2, (tile.height - side) // 2
    return tile.crop((left, top, left + side, top + side)).resize((shown, shown), Image.Resampling.NEAREST)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.grid_artifact", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of images")
    add_networks(parser, "squeezenet1_0", "mobilenet_v2")
    parser.add_argument("--count", type=int, default=32, help="images (%(default)s)")
    parser.add_argument("--layers", type=int, default=6, help="lower layers of each network (%(default)s)")
    parser.add_argument("--filters", type=int, default=4, help="strongest filters of an image (%(default)s)")
    parser.add_argument("--size", type=int, default=224, help="side of the input (%(default)s)")
    add_common_options(parser, "runs/benchmarks/grid_artifact.json")
    args = parser.parse_args()
    preprocessing = Preprocessing(args.size, round(args.size * 256 / 224))
    images = read_images(args.images, args.count, preprocessing).to(args.device)
    figures: dict[str, Any] = {}
    for network in args.networks:
        model = network.build(args.device)
        shown: list[tuple[str, int, dict[str, Tensor]]] = []
        figures[network.name] = {}
        for number, (layer, stride) in enumerate(
            track(strided_layers(model, images, args.layers).items(), network.name)
        ):
            found = heatmaps(model, layer, images, strongest_channels(model, layer, images, args.filters))
            figures[network.name][layer] = {"stride": stride} | measure(found, stride)
            shown.append((layer, number % len(images), found))
        path = args.out.with_name(f"grid_{network.name}.png")
        with atomic_file(path) as partial:
            side_by_side(preprocessing.denormalize(images), shown).save(partial)
        _report(network.name, figures[network.name], path)
    write_figures(args.out, args, {"shares": figures})


def _report(name: str, layers: dict[str, Any], path: Path) -> None:
    rows = []
    for layer, figures in layers.items():
        for period, shares in figures.items():
            if isinstance(shares, dict):
                cells = [f"{100 * shares[way]:.2f} % ({shares['contrast'][way]:.2f})" for way in WAYS]
                rows.append([layer, str(figures["stride"]), period.split()[1], *cells, f"{shares['ratio']:.3f}"])
    title = f"Share of spectral power on the grid (and its contrast), {name} ({path})"
    show(title, ["layer", "stride", "period", *WAYS, "ratio"], rows)
    ratios = [figures["period 2"]["ratio"] for figures in layers.values()]
    show("", ["ratio at period 2", "median", "most"], [["", f"{statistics.median(ratios):.3f}", f"{max(ratios):.3f}"]])


if __name__ == "__main__":
    main()
