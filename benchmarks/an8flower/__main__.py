"""Explanations on an8Flower, where what tells the classes apart is known: CNN, ViT, Swin and ConvNeXt, folds by view.

    python -m benchmarks.an8flower --data data --architecture vit swin --variants single-6c double-12c part-2c

A variant that is not under --data yet is rendered (pip install 'vitrine[synthetic]'). For each fold a network is trained
on the other views; all that can be chosen of a method is chosen on training images alone. Of test images: the area under the
IoU curve (table 1 of Oramas et al., ICLR 2019), whether the maximum lies in the mask, and the energy in it. Outcomes are
written to --results as they are found, where a run that is started again goes on; the tables are of all that is there.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.an8flower.data import folds, read_flowers
from benchmarks.an8flower.fold import ALL, FoldRun, trained
from benchmarks.an8flower.network import ARCHITECTURES
from benchmarks.an8flower.tables import rows_of
from benchmarks.common import add_common_options, show, write_figures
from vitrine.core.atomic_io import atomic_file
from vitrine.data.an8flower.generate import generate
from vitrine.data.an8flower.settings import SETTINGS_FILE, FlowerSettings
from vitrine.data.an8flower.variants import VARIANTS, Variant


def run_variant(variant: Variant, args: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """The folds of a variant, by architecture."""
    folder = args.data / variant
    if not (folder / SETTINGS_FILE).is_file():
        generate(FlowerSettings(variant), folder)
    flowers, classes = read_flowers(folder, args.size)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in args.architecture}
    for number, fold in enumerate(folds(flowers, args.folds)):
        for name in args.architecture if number in (args.only_folds or range(args.folds)) else ():
            how, stem = ARCHITECTURES[name], f"{name}-{variant}-{number}"
            weights = args.networks / f"{stem}.safetensors"
            network = trained(fold, len(classes), how, weights, args, number)
            run = FoldRun(fold, how, network, weights, args.results / f"{stem}.json", args)
            found[name].append(run.run())
            with atomic_file(args.results / f"{stem}.png") as partial:
                run.panel().save(partial)
    return found


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs the benchmark and returns its figures."""
    args = parser().parse_args(arguments)
    for folder in (args.out.parent, args.results, args.networks):
        folder.mkdir(parents=True, exist_ok=True)
    found = {variant: run_variant(variant, args) for variant in args.variants}
    for variant, by_architecture in found.items():
        for name, of_folds in by_architecture.items():
            accuracies = ", ".join(f"{100 * fold['accuracy']:.1f} %" for fold in of_folds)
            title = f"{name}, {variant}: test accuracy {accuracies}"
            show(title, ["method", "area", "first's lead", "pointing", "energy"], rows_of(of_folds))
    write_figures(args.out, args, {"variants": found})
    return found


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.an8flower", description=__doc__, allow_abbrev=False)
    options.formatter_class = argparse.RawDescriptionHelpFormatter
    options.add_argument("--data", type=Path, default=Path("data"), help="where variants are, or are put (%(default)s)")
    options.add_argument("--architecture", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES), help="(all)")
    options.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="(all)")
    options.add_argument("--methods", nargs="+", choices=ALL, default=list(ALL), help="(all)")
    options.add_argument("--networks", type=Path, default=Path("runs/an8flower"), help="trained ones (%(default)s)")
    options.add_argument("--results", type=Path, default=Path("runs/an8flower/results"), help="(%(default)s)")
    options.add_argument("--only-folds", nargs="*", type=int, default=[], help="numbers of the folds to run (all)")
    for name, default, told in (
        ("folds", 5, "number of folds"),
        ("epochs", 0, "passes over the training images; 0 for the architecture's own"),
        ("size", 80, "side of the network's input in pixels"),
        ("fit-images", 600, "training images that explainers are fitted on, all classes together"),
        ("tune-images", 24, "training images that choices are made on"),
        ("test-images", 48, "test images"),
    ):
        options.add_argument(f"--{name}", type=int, default=default, help=f"{told} (%(default)s)")
    add_common_options(options, "runs/an8flower/an8flower.json")
    return options


if __name__ == "__main__":
    main()
