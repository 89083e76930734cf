"""Methods that are compared, how their maps are made, and their command-line options."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from benchmarks.common import NamedWeights
from benchmarks.localization.methods import GaussianCentre
from benchmarks.method_maps import CLASS_METHODS, smoothed, timed_maps
from benchmarks.method_table import METHODS, Entry
from vitrine.attribution import InversionMask
from vitrine.attribution.inversion import settings_of
from vitrine.attribution.target_layer import target_layer

STAGE_1, RELEASED_STAGE_1 = "Stage 1", "Stage 1, released"
"""Guided feature inversion alone, which knows of no class."""
INVERSIONS = (
    "InversionMask",
    "InversionMask+released",
    "InversionMask+fine",
    "InversionMask+smooth",
    "InversionMask+smooth, ten steps",
)

ROWS: dict[str, Entry] = {
    STAGE_1: Entry(InversionMask, {"class_steps": 0}, slow=True),
    RELEASED_STAGE_1: Entry(InversionMask, {"variant": "released", "class_steps": 0}, slow=True),
    "GaussianCentre": Entry(GaussianCentre),
    **{name: METHODS[name] for name in CLASS_METHODS},
}


def add_rows(parser: argparse.ArgumentParser, *default: str) -> None:
    """--methods, --steps, --blur and --batch-size."""
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=ROWS,
        default=list(default),
        metavar="METHOD",
        help=f"({', '.join(default)}; known are {', '.join(ROWS)})",
    )
    add_steps(parser)
    parser.add_argument(
        "--blur", type=float, default=0.02, help="σ as a share of the image's side, for maps at pixels (%(default)s)"
    )
    parser.add_argument("--batch-size", type=int, default=8, help="images at once (%(default)s)")


def add_steps(parser: argparse.ArgumentParser) -> None:
    """--steps."""
    parser.add_argument(
        "--steps",
        type=int,
        nargs=2,
        metavar=("INVERSION", "CLASS"),
        help="at most so many of the two stages of an inversion mask (as many as its variant has)",
    )


def rows_of(args: argparse.Namespace) -> dict[str, Entry]:
    """What --methods names, with --steps."""
    return {name: with_steps(ROWS[name], args.steps) for name in args.methods}


def with_steps(entry: Entry, steps: Sequence[int] | None) -> Entry:
    """An inversion mask with at most so many steps; any other method as it is."""
    if steps is None or entry.method is not InversionMask:
        return entry
    settings = settings_of(**{"variant": "paper"} | entry.options)
    most = {
        "inversion_steps": min(settings.inversion_steps, steps[0]),
        "class_steps": min(settings.class_steps, steps[1]),
    }
    return replace(entry, options=entry.options | most)


class Explained(NamedTuple):
    """A network that is explained."""

    name: str
    model: nn.Module
    layer: str
    """That methods draw which draw one."""

    @classmethod
    def build(cls, network: NamedWeights, args: argparse.Namespace) -> "Explained":
        """Loads a network."""
        torch.manual_seed(args.seed)  # networks without weights are drawn
        model = network.build(args.device).requires_grad_(requires_grad=False)
        return cls(
            network.name, model, target_layer(model, torch.zeros(1, 3, args.size, args.size, device=args.device))
        )


class Maps(NamedTuple):
    """Of many images."""

    maps: Tensor
    """(B, K, H, W) of K classes an image, as the table of methods reads them; NaN throughout where degenerate."""
    seconds: float
    """For a map."""


def maps_of(
    entry: Entry, explained: Explained, images: Tensor, targets: Tensor, args: argparse.Namespace, title: str
) -> Maps:
    """The maps of (B, K) classes of (B, 3, S, S) images.

    Raises:
        ValueError: where the method refuses the network.
    """
    method = entry.build(explained.model, explained.layer, args.seed)
    found, total = [], 0.0
    parts = list(zip(torch.split(images, args.batch_size), torch.split(targets, args.batch_size), strict=True))
    for part, classes in track(parts, f"{explained.name}: {title}", console=Console(stderr=True), transient=True):
        maps, seconds = timed_maps(entry, method, part.to(args.device), classes.to(args.device))
        maps = smoothed(maps, args.blur if entry.blurred else 0.0)
        found.append(maps.view(*classes.shape, *maps.shape[1:]))
        total += seconds
    return Maps(torch.cat(found), total / targets.numel())


def each_row(args: argparse.Namespace, measure: Callable[[str, Entry], Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The figures of every method of --methods, or why it was refused."""
    found: dict[str, dict[str, Any]] = {}
    for name, entry in rows_of(args).items():
        try:
            found[name] = {"options": entry.options, **measure(name, entry)}
        except ValueError as error:
            found[name] = {"options": entry.options, "refused": str(error)}
    return found


def mean(values: Tensor) -> float | None:
    """Over all that is not NaN; None where nothing is left."""
    kept = values[~values.isnan()]
    return float(kept.double().mean()) if len(kept) else None


def cell(value: float | None, percent: bool = True) -> str:
    """A figure as tables show it."""
    if value is None:
        return "–"
    return f"{100 * value:.1f}" if percent else f"{value:.2f}"


def show_refused(methods: Mapping[str, Mapping[str, Any]]) -> None:
    """Says why methods were refused."""
    for name, found in methods.items():
        if "refused" in found:
            Console().print(f"{name}: {found['refused']}", markup=False, highlight=False)
