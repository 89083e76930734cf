"""What an inversion mask costs: ours, against the paper's algorithms one image after the other, and the released scheme.

    python -m benchmarks.inversion --networks squeezenet1_0 mobilenet_v2 resnet18

All ways explain the predicted classes of the same images by the same weights in as many steps. Seconds an image are medians
over rounds, in each of which all ways run, beginning with another each time; a ratio is the median of the ratios of rounds.
Final losses and masks are compared with those of the literal way; the released scheme has losses of its own. Random weights
and images unless they are named; times do not depend on them.

With --explainers, explainers that have a trained predictor are timed as well: all steps, until at rest, predicted and a few
steps, and predicted alone. With --first-use, the explainer as it is made without options is timed against the paper's steps
instead. Prints tables and writes one JSON.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import NamedWeights, add_common_options, add_networks, read_images, write_figures
from benchmarks.inversion.first_use import first_use, show_first_use
from benchmarks.inversion.timing import figures_of, goals_of, show_warm, show_ways, timed, warm_figures_of
from benchmarks.inversion.ways import Problem, explainer_of, warm_runs
from benchmarks.srae_scale.report import Goal, show_goals
from vitrine.data.preprocessing import Preprocessing


def images_of(args: argparse.Namespace, size: int | None = None) -> Tensor:
    """(B, 3, H, W) of the folder, or noise."""
    size = size or args.size
    if args.images is None:
        generator = torch.Generator().manual_seed(args.seed)
        return torch.randn(args.count, 3, size, size, generator=generator).to(args.device)
    return read_images(args.images, args.count, Preprocessing(size, round(size * 8 / 7))).to(args.device)


def compare_ways(args: argparse.Namespace, network: NamedWeights) -> tuple[list[dict[str, Any]], list[Goal]]:
    """Ours and the two schemes of one image at a time."""
    problem = Problem(network.build(args.device), images_of(args), tuple(args.steps), args.batch)
    timings = timed(problem.runs(), len(problem.images), args.rounds, args.device, network.name)
    rows = figures_of(timings)
    show_ways(network.name, rows)
    return rows, goals_of(network.name, timings)


def compare_warm(args: argparse.Namespace, name: str, folder: Path) -> list[dict[str, Any]]:
    """A trained predictor, and none."""
    weights = next((network.weights for network in args.networks if network.name == name), None)
    explainer = explainer_of(folder, weights, args.device)
    images = images_of(args, explainer.options.image_size)
    runs = warm_runs(explainer, images, args.batch, tuple(args.steps), args.few)
    rows = warm_figures_of(timed(runs, len(images), args.rounds, args.device, f"{name}, with a predictor"))
    show_warm(name, rows)
    return rows


def main(arguments: Sequence[str] | None = None) -> Mapping[str, Any]:
    """Measures all networks, and returns the figures."""
    args = parser().parse_args(arguments)
    torch.manual_seed(args.seed)
    if args.threads:
        torch.set_num_threads(args.threads)
    figures: dict[str, Any] = {"ways": {}, "warm": {}, "first use": {}, "goals": []}
    goals: list[Goal] = []
    for network in args.networks if args.first_use else ():
        rows = first_use(network.name, network.build(args.device), images_of(args), args.rounds, args.device)
        figures["first use"][network.name] = rows
        show_first_use(network.name, rows)
        write_figures(args.out, args, figures)
    for network in () if args.warm or args.first_use else args.networks:
        figures["ways"][network.name], judged = compare_ways(args, network)
        goals += judged
        figures["goals"] = [goal._asdict() for goal in goals]
        write_figures(args.out, args, figures)
    for name, folder in (given.split("=", 1) for given in args.explainers):
        figures["warm"][name] = compare_warm(args, name, Path(folder))
        write_figures(args.out, args, figures)
    show_goals(goals)
    return figures


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.inversion", description=__doc__, allow_abbrev=False)
    options.formatter_class = argparse.RawDescriptionHelpFormatter
    add_networks(options, "squeezenet1_0", "mobilenet_v2", "resnet18")
    options.add_argument("--images", type=Path, help="folder of images; noise without it")
    options.add_argument("--count", type=int, default=8, help="images (%(default)s)")
    options.add_argument("--size", type=int, default=224, help="side of the input (%(default)s)")
    options.add_argument("--batch", type=int, default=8, help="images that ours explains at once (%(default)s)")
    options.add_argument(
        "--steps", type=int, nargs=2, default=[10, 70], metavar=("INVERSION", "CLASS"), help="of both stages (10 70)"
    )
    options.add_argument("--rounds", type=int, default=3, help="rounds that count (%(default)s)")
    options.add_argument("--threads", type=int, default=0, help="of the CPU; torch's own number without it")
    options.add_argument(
        "--explainers", nargs="*", default=[], metavar="NETWORK=FOLDER", help="explainers with a trained predictor"
    )
    options.add_argument("--warm", action="store_true", help="time these explainers only")
    options.add_argument("--first-use", action="store_true", help="time the default explainer only")
    options.add_argument("--few", type=int, default=5, help="steps after a prediction (%(default)s)")
    add_common_options(options, "runs/benchmarks/inversion.json")
    return options


if __name__ == "__main__":
    main()
