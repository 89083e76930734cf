"""Networks (section 4.1.4, Fig. 5): which layers their masks come from, and the seconds that a mask takes.

Times do not depend on the weights: networks without a file have random ones, and images are noise unless --images names some.
Each time is the median over --rounds after a round that does not count, in which all batch sizes run in turn. One gradient
of a logit is timed beside: a mask's time in gradients says what the optimisation costs on any machine. Masks are drawn of
networks with weights.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import NamedWeights, add_common_options, add_networks, machine, read_images, show, write_figures
from benchmarks.inversion.timing import timed
from benchmarks.inversion_experiments.methods import add_steps
from benchmarks.inversion_experiments.pictures import laid_over, plain, shown, write_rows
from vitrine.attribution import InversionMask, Saliency
from vitrine.attribution.inversion import InvertedNetwork, inversion_layers
from vitrine.attribution.inversion.settings import VARIANTS, Variant
from vitrine.backbones.guard import eval_guard
from vitrine.data.preprocessing import Preprocessing

PAPER = {"vgg19": 8.04, "resnet18": 6.43, "alexnet": 4.82}
"""Seconds an image on the authors' GPU, one at a time."""
KEYS = (("median", 3), ("gradients", 0))
"""What the table shows of a batch size, and its digits."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """All options."""
    add_networks(parser, "vgg19", "resnet18", "alexnet", "squeezenet1_0", "mobilenet_v2")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="images; noise without it")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["paper"], help="(paper)")
    add_steps(parser)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], help="images at once (1 8)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count (%(default)s)")
    parser.add_argument("--size", type=int, default=224, help="side of the input (%(default)s)")
    add_common_options(parser, "runs/benchmarks/inversion_architectures.json")


def run(parser: argparse.ArgumentParser, args: argparse.Namespace) -> dict[str, Any]:
    """Measures all networks, and returns the figures."""
    if args.pictures and not args.images:
        parser.error("--pictures needs --images FOLDER, to draw masks over.")
    figures: dict[str, Any] = {}
    drawn: list[tuple[str, Tensor]] = []
    images = _images(args)
    for network in args.networks:
        torch.manual_seed(args.seed)  # networks without weights are drawn
        model = network.build(args.device).requires_grad_(requires_grad=False)
        for variant in args.variants:
            method = _mask(model, variant, args)
            figures[f"{network.name}, {variant}"] = _measure(network, method, images, args)
            if args.pictures and network.weights:
                drawn.append((f"{network.name}\n{variant}", method.attribute(images)[:, 0].cpu()))
            write_figures(args.out, args, {"networks": figures})
    _show(figures, args)
    if drawn:
        _draw(images, drawn, args)
    return figures


def _images(args: argparse.Namespace) -> Tensor:
    most = max(args.batches)
    if args.images is None:
        generator = torch.Generator().manual_seed(args.seed)
        return torch.randn(most, 3, args.size, args.size, generator=generator).to(args.device)
    found = read_images(args.images, most, Preprocessing(args.size, round(args.size * 256 / 224))).to(args.device)
    if len(found) < most:
        raise ValueError(f"{args.images} has {len(found)} images; give {most}, or smaller --batches.")
    return found


def _mask(model: torch.nn.Module, variant: Variant, args: argparse.Namespace) -> InversionMask:
    steps = args.steps or (None, None)
    return InversionMask(
        model, variant=variant, internal_batch_size=max(args.batches), inversion_steps=steps[0], class_steps=steps[1]
    )


def _measure(network: NamedWeights, method: InversionMask, images: Tensor, args: argparse.Namespace) -> dict[str, Any]:
    told = layers_of(method, images)
    times: dict[str, Any] = {}
    for batch in args.batches:
        part = images[:batch]
        runs = {"mask": partial(method.attribute, part), "gradient": partial(Saliency(method.model).attribute, part)}
        found = timed(runs, batch, args.rounds, args.device, f"{network.name}, {batch} at once")
        mask, gradient = found["mask"].median, found["gradient"].median
        times[str(batch)] = {"seconds": found["mask"].seconds, "median": mask, "gradients": mask / gradient}
    return told | {
        "steps": [method.settings.inversion_steps, method.settings.class_steps],
        "parameters": sum(one.numel() for one in method.model.parameters()),
        "batches": times,
        "paper_seconds": PAPER.get(network.name),
    }


def layers_of(method: InversionMask, images: Tensor) -> dict[str, Any]:
    """l₀, l₁ and how many maps a mask is a sum of, of how many cells."""
    settings = method.settings
    with eval_guard(method.model):
        layers = inversion_layers(method.model, images[:1], mask_from=settings.mask_from)
        reading = InvertedNetwork(method.model, layers, settings).read(images[:1])
    channels, cells = reading.maps.channels, reading.maps.layers[0].shape[2:]
    return {"inversion_layer": layers.inversion, "mask_layers": list(layers.mask), "channels": channels, "cells": cells}


def _show(figures: dict[str, Any], args: argparse.Namespace) -> None:
    layers, times = [], []
    for name, found in figures.items():
        cells = "×".join(map(str, found["cells"]))
        layers.append([name, found["inversion_layer"], " ".join(found["mask_layers"]), str(found["channels"]), cells])
        of_batches = [
            f"{found['batches'][str(batch)][key]:.{digits}f}" for batch in args.batches for key, digits in KEYS
        ]
        paper = found["paper_seconds"]
        steps = "+".join(map(str, found["steps"]))
        times.append([name, steps, *of_batches, "–" if paper is None else f"{paper:.2f}"])
    show("Layers of masks", ["network", "l₀", "l₁", "n", "cells"], layers)
    columns = [text for batch in args.batches for text in (f"s, {batch} at once", "in grad.")]
    show(f"Seconds a mask ({machine()})", ["network", "steps", *columns, "paper's s"], times)


def _draw(images: Tensor, drawn: list[tuple[str, Tensor]], args: argparse.Namespace) -> None:
    rows = []
    for place, image in enumerate(images):
        colours = shown(image, Preprocessing(args.size, None))
        rows.append([plain("\n", colours), *(laid_over(name, colours, maps[place]) for name, maps in drawn)])
    write_rows(args.pictures, "architectures", rows, "Masks of the predicted classes")
