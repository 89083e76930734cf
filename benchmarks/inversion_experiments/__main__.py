r"""The experiments of section 4 of guided feature inversion (Du, Liu, Song and Hu, KDD 2018).

    python -m benchmarks.inversion_experiments discrimination --images data/imagenet --wnids data/imagenet \
        --networks squeezenet1_0=squeezenet1_0.pth mobilenet_v2=mobilenet_v2.pth --pictures runs/pictures
    python -m benchmarks.inversion_experiments attack --images data/imagenet --networks mobilenet_v2=mobilenet_v2.pth
    python -m benchmarks.inversion_experiments architectures --networks vgg19 resnet18 alexnet
    python -m benchmarks.inversion_experiments layers --cub data/CUB_200_2011 \
        --cub-networks mobilenet_v2=classifier.safetensors
    python -m benchmarks.inversion_experiments salient --saliency data/ECSSD --networks mobilenet_v2=mobilenet_v2.pth

Each prints tables and writes one JSON; with --pictures also what the paper shows in its figures. What an experiment measures
stands in its own --help.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.inversion_experiments import architectures, attack, discrimination, layers, salient

EXPERIMENTS = {
    "discrimination": discrimination,
    "attack": attack,
    "architectures": architectures,
    "layers": layers,
    "salient": salient,
}


def parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The command line, and that of each experiment."""
    command = argparse.ArgumentParser(
        prog="python -m benchmarks.inversion_experiments",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    below = command.add_subparsers(dest="experiment", required=True, metavar="EXPERIMENT")
    own = {}
    for name, module in EXPERIMENTS.items():
        told = module.__doc__ or ""
        own[name] = below.add_parser(
            name,
            help=told.splitlines()[0],
            description=told,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_options(own[name])
        own[name].add_argument("--pictures", type=Path, metavar="FOLDER", help="where pictures are written (none)")
    return command, own


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs an experiment, and returns its figures."""
    command, own = parser()
    args = command.parse_args(arguments)
    found: dict[str, Any] = EXPERIMENTS[args.experiment].run(own[args.experiment], args)
    return found


if __name__ == "__main__":
    main()
