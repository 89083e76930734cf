"""Maps of attribution methods in benchmarks: which methods, their timed and smoothed maps, and notes on them."""

import argparse
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from rich.console import Console
from torch import Tensor

from benchmarks.method_table import METHODS, Entry
from vitrine.attribution import Method
from vitrine.core.image_ops import gaussian_blur
from vitrine.metrics.functional import degenerate

CLASS_METHODS = [name for name, entry in METHODS.items() if not entry.of_a_channel]
"""Rows of methods that explain classes."""

Item = TypeVar("Item")


def timed_maps(entry: Entry, method: Method, images: Tensor, target: Tensor) -> tuple[Tensor, float]:
    """The maps of a batch, read as in the table of methods, and the seconds that they took.

    Args:
        entry: says how the maps are read.
        method: computes the maps.
        images: (B, 3, H, W).
        target: (B,), or (B, K) for K maps an image.

    Returns:
        (B, H, W) or (B · K, H, W) float32 in main memory.
    """
    started = time.perf_counter()
    raw = method.attribute(images, target).cpu()
    seconds = time.perf_counter() - started
    return entry.read(raw.flatten(0, target.ndim - 1).float()), seconds


def smoothed(maps: Tensor, blur: float) -> Tensor:
    """(K, h, w) maps blurred by a Gaussian whose σ is a share of the width; degenerate ones become NaN."""
    # By rounding, a constant map would get a maximum.
    maps = maps.masked_fill(degenerate(maps)[:, None, None], torch.nan)
    return gaussian_blur(maps, blur * maps.shape[-1])


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """So many of the items, evenly spaced; all for 0."""
    count = min(count or len(items), len(items))
    return [items[place * len(items) // count] for place in range(count)]


def add_method_options(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    """Adds --methods, --blur and --size."""
    parser.add_argument("--methods", nargs="+", choices=names, default=names, help="(all)", metavar="METHOD")
    parser.add_argument("--blur", type=float, default=0.02, help="σ as a share of the image's side (%(default)s)")
    parser.add_argument("--size", type=int, default=224, help="side of the input (%(default)s)")


def show_notes(methods: Mapping[str, Mapping[str, Any]]) -> None:
    """Prints why methods were refused, and the options of the others."""
    for name, entry in methods.items():
        note = entry.get("refused") or ", ".join(f"{option} {value}" for option, value in entry["options"].items())
        if note:
            Console().print(f"{name}: {note}", markup=False, highlight=False)
