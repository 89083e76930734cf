r"""Weakly supervised localisation (Du, Liu, Song and Hu, 2018, section 4.2): does the box around a map fit the object?

    python -m benchmarks.localization --tiny-imagenet data/tiny-imagenet-200 --wnids data/imagenet/train \
        --networks squeezenet1_0=squeezenet1_0.pth mobilenet_v2=mobilenet_v2.pth \
        --cub data/CUB_200_2011 --cub-networks mobilenet_v2=runs/cub_mobilenet_classifier/classifier.safetensors

The map of an image's true class is on where it is above α times its mean; an image is localised where the tightest box of
all that is on has IoU > 0.5 with any of the image's boxes. For each method and network, the α of 0, 0.5 … 10 with the lowest
error on tuning images (of the training split; the lowest on ties) is measured on images of the validation or test split.
Images are squashed to the network's square input, boxes with them. Networks for Tiny-ImageNet are those of ImageNet-1k, and
its 64 × 64 images are enlarged bilinearly; networks for the birds are those that train.py fine-tunes, which have seen the
tuning images.

Maps are read and smoothed as in `benchmarks.pointing_voc`; then values below 0 become 0, as means of signed maps say nothing.
Maps that are degenerate by then are counted, and are errors. Beside the error at the tuned α stand the error at the best α in
hindsight, that of the largest component alone (with an α of its own), and the share of maps with their maximum in a box. The
95 % interval of the error is Wilson's. Two rows look at no network and no image: WholeImage, and GaussianCentre.

The slow methods are measured on some of the images (--slow-images); for the others, the error on just these stands beside the
error on all. Prints a table a network, and rewrites one JSON after each method; with --resume, methods that it has with equal
settings are not measured again.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import NamedWeights, add_common_options, add_networks
from benchmarks.localization.images import LocalizationSet, read_birds, read_tiny_imagenet
from benchmarks.localization.measuring import measure_all
from benchmarks.localization.methods import ROWS, NamedFolder
from benchmarks.localization.report import FiguresFile, show_tables
from benchmarks.localization.subjects import Subject, all_explained
from benchmarks.method_maps import add_method_options


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(prog="python -m benchmarks.localization", description=__doc__.splitlines()[0])
    command.add_argument("--tiny-imagenet", type=Path, metavar="FOLDER", help="Tiny-ImageNet as it was published")
    command.add_argument(
        "--wnids",
        type=Path,
        metavar="PATH",
        help="classes of the networks for Tiny-ImageNet: a folder with names that begin with wnids, or a list of wnids",
    )
    add_networks(command, "squeezenet1_0", "mobilenet_v2")
    command.add_argument("--cub", type=Path, metavar="FOLDER", help="CUB_200_2011 as it was published")
    command.add_argument(
        "--cub-networks",
        type=NamedWeights.parse,
        nargs="+",
        default=[],
        metavar="NAME=WEIGHTS",
        help="networks for --cub and files of their weights",
    )
    command.add_argument(
        "--explainers",
        type=NamedFolder.parse,
        nargs="+",
        default=[],
        metavar="NAME=FOLDER",
        help="saved explainers to measure as well, each on the network that it was fitted to (none)",
    )
    add_method_options(command, list(ROWS))
    command.add_argument(
        "--slow", nargs="+", default=[], metavar="NAME", help="explainers that are slow like the slow methods (none)"
    )
    command.add_argument(
        "--count", type=int, default=500, help="images of a set that are measured, 0 for all (%(default)s)"
    )
    command.add_argument("--tuning-count", type=int, default=200, help="images that α is tuned on (%(default)s)")
    command.add_argument("--slow-images", type=int, default=100, help="of --count for slow methods (%(default)s)")
    command.add_argument("--slow-tuning", type=int, default=60, help="of --tuning-count for them (%(default)s)")
    command.add_argument(
        "--component",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="measure the largest component alone as well, which takes longer than many methods (yes)",
    )
    command.add_argument("--bf16", action="store_true", help="make maps under bfloat16 autocast")
    command.add_argument("--batch-size", type=int, default=16, help="images at once (%(default)s)")
    command.add_argument("--resume", action="store_true", help="keep what --out has, and measure what it lacks")
    add_common_options(command, "runs/benchmarks/localization.json")
    return command


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options, if they fit together."""
    command = parser()
    args = command.parse_args(argv)
    if not (args.tiny_imagenet or args.cub):
        command.error("there is nothing to measure on: give --tiny-imagenet FOLDER, --cub FOLDER, or both.")
    if args.tiny_imagenet and not args.wnids:
        command.error("--tiny-imagenet needs --wnids PATH, to find the networks' classes.")
    if args.cub and not args.cub_networks:
        command.error("--cub needs --cub-networks NAME=WEIGHTS …, networks that tell its species apart.")
    for explainer in args.explainers:
        if explainer.name in ROWS:
            command.error(f"--explainers: {explainer.name} is the name of a method; give the explainer another.")
    for name in args.slow:
        if name not in {explainer.name for explainer in args.explainers}:
            command.error(f"--slow: {name} is the name of none of --explainers.")
    return args


def sets_of(args: argparse.Namespace) -> list[tuple[LocalizationSet, list[NamedWeights]]]:
    """The sets of images, and the networks that are measured on each."""
    found = []
    if args.tiny_imagenet:
        found.append((read_tiny_imagenet(args.tiny_imagenet, args.wnids), args.networks))
    if args.cub:
        found.append((read_birds(args.cub), args.cub_networks))
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Measures all methods on all networks."""
    args = parse_args(argv)
    subjects = [
        Subject.build(images.thinned(args.count, args.tuning_count), network, args)
        for images, networks in sets_of(args)
        for network in networks
    ]
    all_explained(subjects, args.explainers)
    figures = FiguresFile(args)
    for subject in subjects:
        measure_all(subject, figures, args)
    show_tables(figures.sets)


if __name__ == "__main__":
    main()
