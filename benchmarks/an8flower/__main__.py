"""Area under the IoU curve of explanations on an8Flower, over five folds by view (table 1 of Oramas et al., ICLR 2019).

    python -m benchmarks.an8flower --data data --variants single-6c double-12c part-2c

A variant that is not under --data yet is rendered (pip install 'vitrine[synthetic]'). For each fold a network is trained
on four fifths of the views; all that can be chosen of a method is chosen on images of these views alone, and its area
measured on images of the others. Prints a table a variant, writes one JSON, and a picture of each fold.
"""

import argparse
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import nn

from benchmarks.an8flower.data import Folds, folds, read_flowers
from benchmarks.an8flower.fold import SRAE, FoldRun, picture_of
from benchmarks.an8flower.methods import NAMES
from benchmarks.an8flower.network import FlowerCNN, train
from benchmarks.common import add_common_options, show, write_figures
from vitrine.core.atomic_io import atomic_file
from vitrine.data.an8flower.generate import generate
from vitrine.data.an8flower.settings import SETTINGS_FILE, FlowerSettings
from vitrine.data.an8flower.variants import VARIANTS, Variant


def trained(fold: Folds, classes: int, path: Path, args: argparse.Namespace, seed: int) -> nn.Module:
    """The fold's network, from ``path`` where an earlier run has left it there."""
    torch.manual_seed(seed)
    network = FlowerCNN(classes, args.size).to(args.device)
    if path.is_file():
        network.load_state_dict(load_file(path))
        return network.eval()
    title = f"training {path.stem}"
    train(network, fold.train.images.float(), fold.train.labels, epochs=args.epochs, seed=seed, title=title)
    with atomic_file(path) as partial:
        save_file(network.cpu().state_dict(), partial)
    return network.to(args.device)


def run_variant(variant: Variant, args: argparse.Namespace) -> list[FoldRun]:
    """All folds of a variant."""
    folder = args.data / variant
    if not (folder / SETTINGS_FILE).is_file():
        generate(FlowerSettings(variant), folder)
    flowers, classes = read_flowers(folder, args.size)
    figures = []
    for number, fold in enumerate(folds(flowers, args.folds)):
        if args.only_folds and number not in args.only_folds:
            continue
        weights = args.networks / f"{variant}-{number}.safetensors"
        network = trained(fold, len(classes), weights, args, number)
        figures.append(FoldRun(fold, network, weights, args).run())
        Console().print(f"{variant}, fold {number}: accuracy {figures[-1].accuracy:.3f}", highlight=False)
        with atomic_file(args.out.with_name(f"{args.out.stem}-{variant}-{number}.png")) as partial:
            picture_of(figures[-1]).save(partial)
    return figures


def rows_of(figures: Sequence[FoldRun]) -> list[list[str]]:
    """Mean and standard deviation over folds, the highest first."""
    areas = defaultdict(list)
    for fold in figures:
        for name, outcome in fold.outcomes.items():
            areas[name].append(outcome.area)
    ordered = sorted(areas.items(), key=lambda entry: -statistics.fmean(entry[1]))
    return [[name, f"{statistics.fmean(v):.1f}", f"{statistics.pstdev(v):.1f}"] for name, v in ordered]


def main(arguments: Sequence[str] | None = None) -> Mapping[str, Any]:
    """Runs the benchmark and returns its figures."""
    args = parser().parse_args(arguments)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    variants = {}
    for variant in args.variants:
        found = run_variant(variant, args)
        accuracy = statistics.fmean(fold.accuracy for fold in found)
        title = (
            f"{variant}: area under the IoU curve in percent, {len(found)} folds, test accuracy {100 * accuracy:.1f} %"
        )
        show(title, ["method", "mean", "std"], rows_of(found))
        variants[variant] = [
            {"accuracy": fold.accuracy, "outcomes": {name: asdict(one) for name, one in fold.outcomes.items()}}
            for fold in found
        ]
    write_figures(args.out, args, {"variants": variants})
    return variants


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.an8flower", description=__doc__, allow_abbrev=False)
    options.formatter_class = argparse.RawDescriptionHelpFormatter
    options.add_argument("--data", type=Path, default=Path("data"), help="where variants are, or are put (%(default)s)")
    options.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="(all)")
    options.add_argument("--networks", type=Path, default=Path("runs/an8flower"), help="trained ones (%(default)s)")
    options.add_argument("--skip", nargs="*", choices=[*NAMES, SRAE], default=[], help="methods to leave out")
    options.add_argument("--only-folds", nargs="*", type=int, default=[], help="numbers of the folds to run (all)")
    for name, default, told in (
        ("folds", 5, "number of folds"),
        ("epochs", 4, "passes over the training images"),
        ("size", 128, "side of the network's input in pixels"),
        ("fit-images", 200, "training images a class that filters are selected on"),
        ("tune-images", 4, "training images a class that choices are made on"),
        ("test-images", 20, "test images a class"),
        ("slow-images", 4, "of both, images a class for slow methods"),
    ):
        options.add_argument(f"--{name}", type=int, default=default, help=f"{told} (%(default)s)")
    add_common_options(options, "runs/an8flower/an8flower.json")
    return options


if __name__ == "__main__":
    main()
