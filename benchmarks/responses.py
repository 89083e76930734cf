"""Responses of all filters of a network, over its bare forward pass.

    python -m benchmarks.responses --networks mobilenet_v2 resnet50 --precision bfloat16 --channels-last

Both see the same images in the same precision and memory format; the bare pass runs in inference mode and keeps nothing. The
selected features of one layer are given beside them. Prints a table and writes one JSON.
"""

import argparse
import statistics
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import NamedWeights, add_common_options, add_networks, machine, show, write_figures
from benchmarks.rounds import Run, Seconds, ratio, side_by_side
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.batch import Features
from vitrine.data.feature_store.pass_options import PassOptions
from vitrine.filters.responses import FilterResponses

BARE, OURS = "bare pass", "responses"


def runs_of(network: NamedWeights, batch: int, size: int, device: str, options: PassOptions) -> Mapping[str, Run]:
    """The bare pass of a network and the responses of its filters, by name."""
    model = network.build(device)
    responses = FilterResponses(FrozenBackbone(model).to(device), image_size=size)
    images = torch.randn(batch, 3, size, size, device=device)

    def logits(inputs: Tensor) -> Features:
        return Features(features=inputs, logits=model(inputs))

    @torch.inference_mode()
    def bare() -> None:
        options.run(logits, images)

    @torch.no_grad()
    def ours() -> None:
        options.run(responses, images)

    return {BARE: bare, OURS: ours}


def timed(network: NamedWeights, batch: int, args: argparse.Namespace) -> Seconds:
    """Seconds of both, round by round."""
    torch.manual_seed(args.seed)
    options = PassOptions(args.precision, args.channels_last)
    return side_by_side(
        runs_of(network, batch, args.size, args.device, options), args.rounds, args.device, network.name
    )


def smoke() -> Mapping[str, float]:
    """For the regression guard: two small networks and batches."""
    args = parser().parse_args(["--networks", "mobilenet_v2", "squeezenet1_0", "--size", "96", "--rounds", "9"])
    return {
        f"responses, {network.name}: bare pass / ours": 1 / ratio(timed(network, 4, args), OURS, BARE)
        for network in args.networks
    }


def parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.responses", description=(__doc__ or "").splitlines()[0])
    add_networks(made, "mobilenet_v2", "resnet50")
    made.add_argument("--batches", type=int, nargs="+", default=[1, 16], help="images at once (1 16)")
    made.add_argument("--size", type=int, default=224, help="of their sides in pixels (%(default)s)")
    made.add_argument("--rounds", type=int, default=7, help="that are counted (%(default)s)")
    add_pass_options(made)
    add_common_options(made, "runs/benchmarks/responses.json")
    return made


def add_pass_options(made: argparse.ArgumentParser) -> None:
    """--precision and --channels-last, which hold for the bare pass too."""
    made.add_argument("--precision", choices=["float32", "bfloat16"], default="float32", help="(%(default)s)")
    made.add_argument("--channels-last", action="store_true", help="memory format of the images")


def main() -> None:
    """The command line."""
    args = parser().parse_args()
    figures: dict[str, dict[str, Any]] = {}
    for network in args.networks:
        for batch in args.batches:
            times = timed(network, batch, args)
            medians = {name: 1000 * statistics.median(seconds) for name, seconds in times.items()}
            over = {f"{OURS} / {BARE}": ratio(times, OURS, BARE)}
            figures[f"{network.name}, batch {batch}"] = {f"{name}, ms": value for name, value in medians.items()} | over
    columns = list(next(iter(figures.values())))
    rows = [[name, *(f"{value:.2f}" for value in of.values())] for name, of in figures.items()]
    show(f"{args.precision}{', channels last' * args.channels_last} ({machine()})", ["", *columns], rows)
    write_figures(args.out, args, {"networks": figures})


if __name__ == "__main__":
    main()
