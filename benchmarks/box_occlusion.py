"""How fast confidence falls as patches drawn from a heatmap cover the image (section 4.2 of Oramas et al., ICLR 2019).

    python -m benchmarks.box_occlusion --images photos --networks squeezenet1_0=squeezenet1_0.pth

For every method: the drop of the predicted class's softmax probability, the mean over 5, 10 … 30 % of the image covered, and
that at 30 %. A constant map, whose patches lie at random, is the measure of what covering alone does. Prints a table a
network and writes one JSON.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from torch import Tensor, nn

from benchmarks.common import NamedWeights, add_common_options, add_networks, read_images, show, write_figures
from benchmarks.method_table import METHODS
from vitrine.data.preprocessing import Preprocessing
from vitrine.metrics import BoxOcclusion
from vitrine.metrics.box_occlusion import box_occlusion

COMPARED = (
    "GuidedBackprop",
    "GuidedBackprop+stride_one",
    "Saliency",
    "GradCAM",
    "GuidedGradCAM",
    "ExcitationBackprop",
    "ExcitationBackprop+c-MWP",
    "Center",
)
RANDOM = "(at random)"


def measure(network: nn.Module, name: str, images: Tensor, args: argparse.Namespace) -> dict[str, float]:
    """The figures of one method."""
    metric = BoxOcclusion()
    batches = list(enumerate(torch.split(images, args.batch_size)))
    for number, batch in track(batches, name, transient=True):
        inputs = batch.to(args.device)
        with torch.no_grad():
            targets = network(inputs).argmax(dim=1)
        maps = heatmaps(network, name, inputs, args.seed)
        keys = [f"{number}-{row}" for row in range(len(batch))]
        metric.update(box_occlusion(network, inputs, maps, targets, args.patch, seed=args.seed, keys=keys).cpu())
    return {key: float(value) for key, value in metric.compute().items()}


def heatmaps(network: nn.Module, name: str, inputs: Tensor, seed: int) -> Tensor:
    """(B, H, W)."""
    if name == RANDOM:
        return torch.ones_like(inputs[:, 0])
    entry = METHODS[name]
    return entry.read(entry.build(network, seed=seed).attribute(inputs))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.box_occlusion", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--images", type=Path, required=True, help="folder of images")
    parser.add_argument("--count", type=int, default=64, help="how many of them (%(default)s)")
    parser.add_argument("--patch", type=int, default=16, help="side of a patch in pixels (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=8, help="(%(default)s)")
    add_networks(parser, "squeezenet1_0")
    add_common_options(parser, "runs/box_occlusion.json")
    args = parser.parse_args(arguments)
    images = read_images(args.images, args.count, Preprocessing())
    figures: dict[str, Any] = {}
    for named in args.networks:
        figures[named.name] = run(named, images, args)
    write_figures(args.out, args, {"networks": figures})


def run(named: NamedWeights, images: Tensor, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """All methods on one network."""
    network = named.build(args.device)
    figures = {name: measure(network, name, images, args) for name in (*COMPARED, RANDOM)}
    ordered = sorted(figures.items(), key=lambda entry: -entry[1]["box_occlusion/drop"])
    rows = [
        [name, *(f"{100 * f[key]:.1f}" for key in ("box_occlusion/drop", "box_occlusion/last_drop"))]
        for name, f in ordered
    ]
    show(f"{named.name}: drop of confidence, {len(images)} images", ["method", "mean, points", "at 30 %"], rows)
    return figures


if __name__ == "__main__":
    main()
