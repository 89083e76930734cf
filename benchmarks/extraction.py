"""First epoch of an explainer's fit, features included, over a bare pass of the frozen network over the same shards.

    python -m benchmarks.extraction --shards data/cub --networks mobilenet_v2=mobilenet_v2.pth --layer features

Both read the same images in the same way and begin without kept features; the fit is the whole call of the trainer, with one
epoch. Without --shards, images of noise are written. Prints a table and writes one JSON.
"""

import argparse
import io
import statistics
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.common import add_common_options, add_networks, machine, show, write_figures
from benchmarks.first_epoch import BARE, EXPLAINERS, Passes
from benchmarks.responses import add_pass_options
from benchmarks.rounds import ratio
from vitrine.data.shards.sample import Sample
from vitrine.data.shards.writer import write_shards


def write_noise(folder: Path, samples: int, side: int, classes: int) -> Path:
    """A set whose training images are smooth noise."""

    def picture(number: int) -> bytes:
        small = np.random.default_rng(number).integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(small).resize((side, side)).save(buffer, "JPEG", quality=90)
        return buffer.getvalue()

    images = [Sample(f"{number:06d}", partial(picture, number), number % classes) for number in range(samples)]
    names = [f"noise {number}" for number in range(classes)]
    write_shards(images, folder / "train", dataset="noise", split="train", classes=names, annotations=(), workers=0)
    return folder


def figures_of(passes: Passes) -> dict[str, dict[str, float]]:
    """Of each explainer, over the bare pass: its first epoch, and the part of it that a later epoch takes too."""
    times = passes.times()
    found = {BARE: {"seconds": statistics.median(times[BARE])}}
    for name, training in passes.training.items():
        found[name] = {
            "seconds": statistics.median(times[name]),
            "over bare": ratio(times, name, BARE),
            "training over bare": statistics.median(
                one / bare for one, bare in zip(training.seconds[1:], times[BARE], strict=True)
            ),
        }
    return found


def measure(args: argparse.Namespace, shards: Path) -> dict[str, Any]:
    """The figures by network."""
    found = {}
    for network in args.networks:
        torch.manual_seed(args.seed)
        with tempfile.TemporaryDirectory() as scratch:
            found[network.name] = figures_of(Passes(network, args, shards, Path(scratch)))
    return found


def smoke() -> Mapping[str, float]:
    """For the regression guard: a small network on small images of noise."""
    options = ["--networks", "squeezenet1_1", "--size", "128", "--batch-size", "32", "--rounds", "2", "--device", "cpu"]
    args = parser().parse_args([*options, "--samples", "64", "--classes", "2"])
    with tempfile.TemporaryDirectory() as folder:
        found = measure(args, write_noise(Path(folder), args.samples, args.size, args.classes))["squeezenet1_1"]
    return {f"extraction, {name}: bare pass / first epoch": 1 / found[name]["over bare"] for name in args.explainers}


def parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.extraction", description=(__doc__ or "").splitlines()[0])
    made.add_argument("--shards", type=Path, help="folder with train/ (images of noise)")
    made.add_argument("--samples", type=int, default=256, help="images of noise (%(default)s)")
    add_networks(made, "mobilenet_v2", "squeezenet1_0")
    made.add_argument(
        "--explainers",
        nargs="+",
        default=list(EXPLAINERS),
        choices=EXPLAINERS,
        metavar="NAME",
        help=f"of {', '.join(EXPLAINERS)}",
    )
    made.add_argument("--layer", default="features", help="whose output is Z (%(default)s)")
    made.add_argument("--classes", type=int, default=6, help="explained classes (%(default)s)")
    made.add_argument("--size", type=int, default=224, help="side of the input (%(default)s)")
    made.add_argument("--batch-size", type=int, default=64, help="images a batch (%(default)s)")
    made.add_argument("--workers", type=int, default=0, help="processes that read images (%(default)s)")
    made.add_argument("--rounds", type=int, default=3, help="that are counted (%(default)s)")
    add_pass_options(made)
    add_common_options(made, "runs/benchmarks/extraction.json")
    return made


def main() -> None:
    """The command line."""
    args = parser().parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shards = args.shards or write_noise(Path(folder), args.samples, 256, args.classes)
        found = measure(args, shards)
    rows = [
        [f"{network}, {name}", *(f"{value:.3f}" for value in of.values())]
        for network, by_name in found.items()
        for name, of in by_name.items()
    ]
    show(f"First epochs ({machine()})", ["", "s", "over bare", "training over bare"], rows)
    write_figures(args.out, args, {"networks": found})


if __name__ == "__main__":
    main()
