"""Which layer (section 4.2, Table 2 and Fig. 6): the localisation error of masks of different layers l₁, over α.

The protocol is that of `benchmarks.localization`: the map of the true class is on where it is above α times its mean, and α
is tuned on images of the training split; the error at the best α in hindsight stands beside. A hit is a maximum in a box, and
void are degenerate maps.

The candidates for l₁ are --layers or, without them, the one that the paper takes, the last layer of every resolution, and the
--last few blocks and activations up to the last map. Prints the table of layers, and the errors over α; the picture is the
curves of errors.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.common import add_common_options, add_networks, machine, show
from benchmarks.inversion_experiments.methods import add_steps, cell, with_steps
from benchmarks.inversion_experiments.pictures import draw_curves
from benchmarks.inversion_experiments.sources import add_boxed_sets, check_sources
from benchmarks.localization.__main__ import sets_of
from benchmarks.localization.measuring import measure_all
from benchmarks.localization.report import FiguresFile
from benchmarks.localization.subjects import Subject
from benchmarks.method_table import Entry
from vitrine.attribution import InversionMask, Method
from vitrine.attribution.autograd.backward import Visit, forward_trace
from vitrine.attribution.inversion import inversion_layers
from vitrine.attribution.inversion.layers import stage_layers
from vitrine.attribution.inversion.settings import VARIANTS
from vitrine.backbones.guard import eval_guard
from vitrine.backbones.map_layouts import channels_first, layout_of_map
from vitrine.backbones.taps import captured, resolve_layer
from vitrine.metrics.functional.localization import LOCALIZATION_ALPHAS

_PASSED_OVER = (nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, nn.Dropout)  # noqa: SLF001 - no public name
"""A mask cuts negative values, so that these give what the activation behind them does."""


def mask_layers(model: nn.Module, images: Tensor, last: int) -> list[str]:
    """Candidates for l₁, in the order in which they run: the paper's, the last of every resolution, and the last few.

    Args:
        model: in eval mode.
        images: (B, C, H, W); their size counts.
        last: how many blocks and activations before l₀, and l₀ itself, are candidates.
    """
    with eval_guard(model):
        layers = inversion_layers(model, images)
        visits = forward_trace(model, images).last_of_each()
        found = [*layers.mask, *stage_layers(model, images, layers.inversion)]
    end = next(place for place, visit in enumerate(visits) if visit.layer == layers.inversion)
    before = [visit for visit in visits[: end + 1] if _may_be_summed(model, visit, images)]
    found += [visit.layer for visit in _without_wholes(before)[-last:]] if last else []
    return _one_of_same([visit for visit in visits if visit.layer in found], layers.mask[0])


def _may_be_summed(model: nn.Module, visit: Visit, images: Tensor) -> bool:
    is_map = layout_of_map(visit.shape, images.shape[1:]) is channels_first and max(visit.shape[2:]) > 1
    return is_map and visit.layer.count(".") <= 1 and not isinstance(model.get_submodule(visit.layer), _PASSED_OVER)


def _without_wholes(visits: list[Visit]) -> list[Visit]:
    """Those with no part among the others."""
    names = [visit.layer for visit in visits]
    return [visit for visit in visits if not any(name.startswith(f"{visit.layer}.") for name in names)]


def _one_of_same(visits: list[Visit], kept: str) -> list[str]:
    """One name of each tensor: ``kept`` where it is among them, and else the outermost."""
    named: dict[object, list[str]] = {}
    for visit in visits:
        named.setdefault(visit.edge[:2], []).append(visit.layer)
    return [kept if kept in same else min(same, key=lambda name: name.count(".")) for same in named.values()]


COLUMNS = ("l₁", "n", "cells", "α", "error %", "95 %", "best (α)", "hits %", "void")


def add_options(parser: argparse.ArgumentParser) -> None:
    """All options."""
    add_networks(parser, "squeezenet1_0", "mobilenet_v2")
    add_boxed_sets(parser)
    parser.add_argument(
        "--wnids", type=Path, metavar="PATH", help="classes of the networks for --tiny-imagenet, see there"
    )
    parser.add_argument("--layers", nargs="+", default=[], metavar="LAYER", help="l₁ to compare (found in the network)")
    parser.add_argument(
        "--last", type=int, default=4, help="how many of the last maps are among those found (%(default)s)"
    )
    parser.add_argument("--variant", choices=VARIANTS, default="paper", help="(%(default)s)")
    add_steps(parser)
    parser.add_argument("--count", type=int, default=100, help="images that are measured, 0 for all (%(default)s)")
    parser.add_argument("--tuning-count", type=int, default=100, help="images that α is tuned on (%(default)s)")
    parser.add_argument("--size", type=int, default=224, help="side of the input (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=8, help="images at once (%(default)s)")
    parser.add_argument("--resume", action="store_true", help="keep what --out has, and measure what it lacks")
    # What the protocol asks for and is of no use here: an inversion mask is smooth.
    parser.set_defaults(
        methods=[], explainers=[], slow=[], slow_images=0, slow_tuning=0, blur=0.0, component=False, bf16=False
    )
    add_common_options(parser, "runs/benchmarks/inversion_layers.json")


def entry_of(layer: str, variant: str, steps: Sequence[int] | None) -> Entry:
    """Masks that are sums of a layer's channels."""

    def build(model: nn.Module, _layer: str | None, l1: str, **options: Any) -> Method:
        return InversionMask(model, l1, **options)

    options = with_steps(Entry(InversionMask, {"variant": variant}), steps).options
    return Entry(build, {"l1": layer} | options)


def run(parser: argparse.ArgumentParser, args: argparse.Namespace) -> dict[str, Any]:
    """Measures all networks, and returns the figures."""
    check_sources(parser, args)
    figures = FiguresFile(args)
    for images, networks in sets_of(args):
        for network in networks:
            subject = Subject.build(images.thinned(args.count, args.tuning_count), network, args)
            shapes = _shapes(subject, args)
            rows = {layer: entry_of(layer, args.variant, args.steps) for layer in shapes}
            measure_all(replace(subject, rows=dict(rows)), figures, args)
            found = figures.sets[images.name][network.name]
            _show(f"{images.name}, {network.name}", found, shapes)
            if args.pictures:
                curves = {
                    layer: list(found["methods"][layer]["errors"].values())
                    for layer in shapes
                    if _measured(found, layer)
                }
                draw_curves(args.pictures / f"alpha_{images.name}_{network.name}.png", LOCALIZATION_ALPHAS, curves)
    return dict(figures.sets)


def _shapes(subject: Subject, args: argparse.Namespace) -> dict[str, torch.Size]:
    """What each candidate gives."""
    inputs = torch.zeros(1, 3, args.size, args.size, device=args.device)
    names = [resolve_layer(subject.model, layer) for layer in args.layers]
    names = names or mask_layers(subject.model, inputs, args.last)
    with torch.no_grad(), captured(subject.model, names) as outputs:
        subject.model(inputs)
    return {name: outputs[name].shape for name in names}


def _measured(found: Mapping[str, Any], layer: str) -> bool:
    return "refused" not in found["methods"][layer]


def _show(title: str, found: Mapping[str, Any], shapes: Mapping[str, torch.Size]) -> None:
    """Table 2, and Fig. 6 as a table."""
    rows, curves = [], {}
    for layer, (_, channels, *cells) in shapes.items():
        own, head = found["methods"][layer], [layer, str(channels), "×".join(map(str, cells))]
        if not _measured(found, layer):
            rows.append([*head, "refused", *[""] * (len(COLUMNS) - 4)])
            continue
        rows.append([*head, *_figures(own)])
        curves[layer] = [cell(error) for error in own["errors"].values()]
    show(f"Localisation error by l₁: {title}, top-1 accuracy {cell(found['accuracy'])} % ({machine()})", COLUMNS, rows)
    if curves:
        over = [[f"{alpha:g}", *errors] for alpha, *errors in zip(LOCALIZATION_ALPHAS, *curves.values(), strict=True)]
        show("Error % over α", ["α", *curves], over)


def _figures(own: Mapping[str, Any]) -> list[str]:
    interval = "–".join(map(cell, own["interval"]))
    best = f"{cell(own['hindsight']['error'])} ({own['hindsight']['alpha']})"
    return [str(own["alpha"]), cell(own["error"]), interval, best, cell(own["pointing"]), str(own["degenerate"])]
