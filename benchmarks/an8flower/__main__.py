"""Area under the IoU curve of explanations on an8Flower, over five folds by view (table 1 of Oramas et al., ICLR 2019).

    python -m benchmarks.an8flower --data data --variants single-6c double-12c part-2c

A variant that is not under --data yet is rendered (pip install 'vitrine[synthetic]'). For each fold a network is trained
on four fifths of the views; all that can be chosen of a method is chosen on images of these views alone, and its area
measured on images of the others. Prints a table a variant and writes one JSON.
"""

import argparse
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import nn

from benchmarks.an8flower.baselines import NAMES, Choice, choices, is_slow
from benchmarks.an8flower.data import Flowers, Folds, folds, read_flowers, spread
from benchmarks.an8flower.network import FlowerCNN, logits_of, train
from benchmarks.an8flower.reading import area, best_reading
from benchmarks.an8flower.selected import (
    FLOORS,
    MEANS,
    PAPER,
    FilterMaps,
    Selector,
    choose,
    choose_join,
    measure,
    selections,
    usual_maxima,
)
from benchmarks.an8flower.srae import LAYER, fit_srae
from benchmarks.common import add_common_options, show, write_figures
from vitrine.an8flower.generate import generate
from vitrine.an8flower.settings import SETTINGS_FILE, FlowerSettings
from vitrine.an8flower.variants import VARIANTS

OURS = MEANS[-1]
SRAE = "SRAE"
ABOVE = "Ours, above the usual"
"""With a floor that was chosen on training images, 0 among the choices."""


@dataclass
class Outcome:
    """A method on one fold."""

    area: float
    """On the test views."""
    tuned: float
    """On the training views, where the choice was made."""
    choice: str


@dataclass
class FoldFigures:
    """One fold of a variant."""

    accuracy: float
    outcomes: dict[str, Outcome] = field(default_factory=dict)


def run_fold(fold: Folds, network: nn.Module, weights: Path, args: argparse.Namespace) -> FoldFigures:
    """All methods on one fold, whose network's weights are in a file too."""
    tune, test = spread(fold.train, args.tune_images, args.seed), spread(fold.test, args.test_images, args.seed)
    tune, test = (_on(flowers, args.device) for flowers in (tune, test))
    logits = logits_of(network, fold.test.images.float())
    figures = FoldFigures(float((logits.argmax(dim=1) == fold.test.labels).double().mean()))
    _selected(figures, fold, network, tune, test, args)
    few = [spread(_cpu(flowers), args.slow_images, args.seed) for flowers in (tune, test)]
    for name in NAMES:
        if name not in args.skip:
            parts = [_on(flowers, args.device) for flowers in few] if is_slow(name) else [tune, test]
            figures.outcomes[name] = best_choice(choices(name, args.seed), network, *parts)
    if SRAE not in args.skip:
        explainer = fit_srae(
            weights,
            logits.shape[1],
            spread(fold.train, args.fit_images, args.seed),
            size=args.size,
            epochs=30,
            seed=args.seed,
        ).to(args.device)
        drawn = Choice(f"{LAYER}, c-MWP", lambda _, images: explainer.attribute(images)[:, 0].cpu())
        figures.outcomes[SRAE] = best_choice([drawn], network, tune, test)
    return figures


def best_choice(among: Iterable[Choice], network: nn.Module, tune: Flowers, test: Flowers) -> Outcome:
    """The choice and the reading that do best on training images, measured on test images."""
    found = []
    for choice in among:
        height, reading = best_reading(choice.draw(network, tune.images), tune.masks)
        found.append((height, choice, reading))
    height, choice, reading = max(found, key=lambda one: one[0])
    measured = area(choice.draw(network, test.images), test.masks, reading)
    return Outcome(measured, height, f"{choice.what}, σ {reading.sigma:g}, power {reading.power:g}")


def _selected(
    figures: FoldFigures, fold: Folds, network: nn.Module, tune: Flowers, test: Flowers, args: argparse.Namespace
) -> None:
    """The three means with the filters that are best for ours, each with those best for itself, and the paper's setting."""
    selector = Selector(network, spread(fold.train, args.fit_images, args.seed), args.size)
    maps = {name: (FilterMaps(name, network, tune.images), FilterMaps(name, network, test.images)) for name in MEANS}
    every = list(selections())
    own = {name: choose(selector, maps[name][0], tune.masks, every) for name in MEANS}
    same = {name: choose_join(selector, maps[name][0], tune.masks, own[OURS].selection) for name in MEANS[:-1]}
    paper = choose_join(selector, maps[OURS][0], tune.masks, PAPER)
    rows = [(name, name, chosen) for name, chosen in {**same, OURS: own[OURS]}.items()]
    rows += [(f"{name}, own filters", name, own[name]) for name in MEANS[:-1]]
    for title, name, chosen in [*rows, (f"{OURS}, the paper's selection", OURS, paper)]:
        measured = measure(selector, maps[name][1], test.masks, chosen)
        figures.outcomes[title] = Outcome(measured, chosen.area, f"{chosen.selection}, {chosen.reading}")
    usual = usual_maxima(network, selector.train.images)
    found = []
    for floor in FLOORS:
        above = FilterMaps(OURS, network, tune.images, floor, usual)
        found.append((choose(selector, above, tune.masks, every), floor))
    chosen, floor = max([(own[OURS], 0.0), *found], key=lambda one: one[0].area)
    above = FilterMaps(OURS, network, test.images, floor, usual)
    told = f"{chosen.selection}, {chosen.reading}, floor {floor:g}"
    figures.outcomes[ABOVE] = Outcome(measure(selector, above, test.masks, chosen), chosen.area, told)
    strided = FilterMaps(MEANS[1], network, test.images, floor, usual)
    figures.outcomes[f"{MEANS[1]}, above the usual"] = Outcome(
        measure(selector, strided, test.masks, chosen), chosen.area, told
    )


def trained(fold: Folds, classes: int, path: Path, args: argparse.Namespace, seed: int) -> nn.Module:
    """The fold's network, from ``path`` where an earlier run has left it there."""
    torch.manual_seed(seed)
    network = FlowerCNN(classes, args.size).to(args.device)
    if path.is_file():
        network.load_state_dict(load_file(path))
        return network.eval()
    title = f"training {path.stem}"
    train(network, fold.train.images.float(), fold.train.labels, epochs=args.epochs, seed=seed, title=title)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(network.cpu().state_dict(), path)
    return network.to(args.device)


def run_variant(variant: str, args: argparse.Namespace) -> list[FoldFigures]:
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
        figures.append(run_fold(fold, network, weights, args))
        Console().print(f"{variant}, fold {number}: accuracy {figures[-1].accuracy:.3f}", highlight=False)
    return figures


def rows_of(figures: Sequence[FoldFigures]) -> list[list[str]]:
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
    variants = {}
    for variant in args.variants:
        found = run_variant(variant, args)
        accuracy = statistics.fmean(fold.accuracy for fold in found)
        title = (
            f"{variant}: area under the IoU curve in percent, {len(found)} folds, test accuracy {100 * accuracy:.1f} %"
        )
        show(title, ["method", "mean", "std"], rows_of(found))
        variants[variant] = [asdict(fold) for fold in found]
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


def _on(flowers: Flowers, device: str) -> Flowers:
    """Images as float32 on a device; masks stay, as maps are read on the CPU."""
    return flowers._replace(images=flowers.images.float().to(device))


def _cpu(flowers: Flowers) -> Flowers:
    return flowers._replace(images=flowers.images.cpu())


if __name__ == "__main__":
    main()
