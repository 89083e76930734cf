"""A regression guard of speed: each benchmark's ratios, small, beside the committed ones.

    python -m benchmarks.smoke
    python -m benchmarks.smoke --only attribution decode
    python -m benchmarks.smoke --update

A ratio is the time of a limit or of a reference over ours, taken in the same run, so that higher is better and the
machine's own speed cancels. One that is more than a fifth below its committed figure in ``benchmarks/smoke.json`` has
fallen: it is measured twice more, and if it stays low it is printed and the exit status is 1. ``--update`` writes the
figures of this run.
"""

import argparse
import contextlib
import importlib
import io
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track

from benchmarks.common import machine, show
from vitrine.core.atomic_io import atomic_file

PARTS: Sequence[str] = (
    "decode", "streaming", "feature_store", "responses", "extraction", "mu_lasso", "settings", "srae_scale", "attribution",
    "inversion", "evaluation", "startup",
)  # fmt: skip
"""Modules of this folder with a function ``smoke() -> Mapping[str, float]``."""
COMMITTED = Path(__file__).with_suffix(".json")
ALLOWED_FALL = 0.2


def measured(part: str, seed: int) -> Mapping[str, float]:
    """The ratios of one benchmark, by name."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # figures of one thread repeat where other work runs beside it
    with contextlib.redirect_stdout(io.StringIO()):  # tables of runs within
        ratios: Mapping[str, float] = importlib.import_module(f"benchmarks.{part}").smoke()
    return ratios


def fallen(ratios: Mapping[str, float], committed: Mapping[str, float]) -> list[str]:
    """Names of the ratios that are more than a fifth below the committed ones."""
    return [name for name, value in ratios.items() if value < (1 - ALLOWED_FALL) * committed.get(name, 0.0)]


def best_measured(part: str, committed: Mapping[str, float], seed: int) -> Mapping[str, float]:
    """The ratios of one benchmark; where one seems to have fallen, the best of three of each, as noise does not repeat."""
    ratios = measured(part, seed)
    for _ in range(2):
        if not fallen(ratios, committed):
            break
        again = measured(part, seed)
        ratios = {name: max(value, again[name]) for name, value in ratios.items()}
    return ratios


def report(ratios: Mapping[str, float], committed: Mapping[str, float], seconds: float) -> list[str]:
    """Prints all ratios, and gives the names of those that fell."""
    low = fallen(ratios, committed)
    rows = [
        [name, f"{value:.2f}", f"{committed[name]:.2f}" if name in committed else "new", "fell" if name in low else ""]
        for name, value in ratios.items()
    ]
    show(f"Reference over ours, {seconds:.0f} s ({machine()})", ["", "now", "committed", ""], rows)
    return low


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.smoke", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}"
    )
    parser.add_argument("--update", action="store_true", help=f"write the figures to {COMMITTED.name}")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (%(default)s)")
    args = parser.parse_args()
    written = json.loads(COMMITTED.read_text(encoding="utf-8")) if COMMITTED.exists() else {"ratios": {}}
    committed = {} if args.update else written["ratios"]
    ratios: dict[str, float] = {}
    began = time.perf_counter()
    for part in track(args.only, "benchmarks", console=Console(stderr=True), transient=True):
        ratios |= best_measured(part, committed, args.seed)
    low = report(ratios, committed, time.perf_counter() - began)
    whole = set(args.only) == set(PARTS)
    lost = sorted(committed.keys() - ratios.keys()) if whole else []
    if args.update:
        kept = ratios if whole else written["ratios"] | ratios
        figures = {"machine": machine(), "ratios": dict(sorted(kept.items()))}
        with atomic_file(COMMITTED) as partial:
            partial.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    told = [f"{len(low)} of {len(ratios)} ratios fell by more than a fifth: {'; '.join(low)}"] if low else []
    told += [f"not measured any more: {'; '.join(lost)}"] if lost else []
    if told:
        sys.exit(". ".join(told))


if __name__ == "__main__":
    main()
