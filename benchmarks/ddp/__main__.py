"""What several ranks and workers change of a fit and a test, and what they cost.

    python -m benchmarks.ddp --ranks 1 2 3 --workers 0 2

Each module is fitted on a small flower set and tested by ``train.py`` on gloo ranks of this machine, with the same global
batch. The first table has the largest difference of exported weights (over the largest of each tensor), of logged losses and
of test metrics from one rank without workers; the goal is 1e-6. The second has steps a second of the fit over a hand-written
loop of the same steps, and the bytes that a rank gives to collectives in a step beside those of the trained parameters.
Prints tables and writes one JSON.
"""

import argparse
import csv
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.common import machine, show, write_figures
from benchmarks.small_runs import MODULES, exported_weights, small_set

GOAL = 1e-6


def launch(ranks: int, args: argparse.Namespace, folder: Path, shards: Path) -> None:
    """Runs all modules on so many ranks; what does not come to an end in time has no figures."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}",
        "-m", "benchmarks.ddp.worker", "--folder", str(folder), "--shards", str(shards),
        "--ranks", str(ranks), "--batch", str(args.batch), "--epochs", str(args.epochs),
        "--loop-epochs", str(args.loop_epochs), "--hidden", *map(str, args.hidden), "--modules", *args.modules,
        "--workers", *map(str, args.workers), *(["--stream"] if args.stream else []),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}
    if ranks == 1:  # a run as a user starts it
        command = [sys.executable, *command[command.index("-m", 3) :]]
    with (folder / f"output-{ranks}.txt").open("w") as output:
        try:
            subprocess.run(  # noqa: S603 - Python itself
                command, env=environment, stdout=output, stderr=subprocess.STDOUT, timeout=args.timeout, check=False
            )
        except subprocess.TimeoutExpired:
            Console(stderr=True).print(f"{ranks} ranks did not end within {args.timeout:g} s")


def losses(folder: Path) -> dict[str, float]:
    """All that a fit logged but for the rate of its steps, by name and step."""
    found: dict[str, float] = {}
    for path in sorted(folder.glob("logs/**/metrics.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                found |= {
                    f"{name} {row.get('epoch')}": float(value)
                    for name, value in row.items()
                    if name not in {"epoch", "step"} and value
                }
    return found


def largest(found: Mapping[str, float], expected: Mapping[str, float]) -> float:
    """The largest difference of any figure, over its size where that is above 1; infinite where one is missing.

    Figures without a value agree.
    """
    if set(found) != set(expected):
        return math.inf
    pairs = [(found[name], expected[name]) for name in expected]
    return max((0.0 if a != a and b != b else abs(a - b) / max(abs(b), 1) for a, b in pairs), default=0.0)  # noqa: PLR0124 - NaN


def metrics(folder: Path) -> dict[str, float]:
    """Those of the test."""
    values = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return {name: math.nan if value is None else value for name, value in values.items()}


def differences(folder: Path, reference: Path) -> dict[str, float]:
    """The largest differences of weights, losses and metrics between two runs."""
    weights, expected = exported_weights(folder), exported_weights(reference)
    relative = {
        name: float((weights[name].double() - value.double()).abs().max() / value.double().abs().max().clamp(min=1e-30))
        for name, value in expected.items()
        if value.numel() and name in weights
    }
    return {
        "weights": max(relative.values(), default=0.0) if set(weights) == set(expected) else math.inf,
        "losses": largest(losses(folder), losses(reference)),
        "metrics": largest(metrics(folder), metrics(reference)),
    }


def compared(folder: Path, module: str, ranks: int, workers: int, reference: tuple[int, int]) -> dict[str, Any]:
    """Differences of a run from the reference, and its clock; an error in place of both."""
    paths = [folder / f"{module}-{r}-{w}.json" for r, w in ((ranks, workers), reference)]
    outcomes: list[dict[str, Any]] = [
        json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"error": "no end"} for path in paths
    ]
    for outcome in outcomes:
        if "error" in outcome:
            return {"error": outcome["error"]}
    return {**differences(Path(outcomes[0]["folder"]), Path(outcomes[1]["folder"])), **outcomes[0]["clock"]}


def _difference_row(name: str, ranks: int, workers: int, found: Mapping[str, Any]) -> list[str]:
    if "error" in found:
        return [name, str(ranks), str(workers), str(found["error"]).strip().splitlines()[-1][:60], "", ""]
    values = [float(found[part]) for part in ("weights", "losses", "metrics")]
    return [name, str(ranks), str(workers), *(f"{value:.1e}" if value else "0" for value in values)]


def _cost_row(name: str, ranks: int, workers: int, found: Mapping[str, Any]) -> list[str]:
    loop, fit = found["loop_steps_per_s"], found["fit_steps_per_s"]
    bytes_ = [found[part] for part in ("gradient_bytes", "other_bytes", "parameter_bytes")]
    share = f"{fit / loop:.2f}" if loop else "–"
    return [name, str(ranks), str(workers), f"{fit:.1f}" if fit else "–", share, *(f"{value:,.0f}" for value in bytes_)]


def main() -> None:
    """Runs what the options name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--modules", nargs="+", default=list(MODULES), choices=list(MODULES), metavar="MODULE", help="(all)"
    )
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 3], help="(%(default)s); 1 is added")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2], help="of each rank (%(default)s); 0 is added")
    parser.add_argument("--batch", type=int, default=12, help="images of all ranks (%(default)s)")
    parser.add_argument("--epochs", type=int, default=3, help="of the fit (%(default)s)")
    parser.add_argument("--loop-epochs", type=int, default=2, help="of the hand-written loop, 0 for none (%(default)s)")
    parser.add_argument("--views", type=int, default=20, help="of each flower (%(default)s)")
    parser.add_argument("--hidden", type=int, nargs="+", default=[16], help="widths of SRAE heads (%(default)s)")
    parser.add_argument("--stream", action="store_true", help="images in place of kept features")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds of each number of ranks (%(default)s)")
    parser.add_argument("--work", type=Path, help="folder of the runs; a temporary one without it")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/benchmark_ddp.json"), help="figures as JSON (%(default)s)"
    )
    args = parser.parse_args()
    args.ranks, args.workers = sorted({1, *args.ranks}), sorted({0, *args.workers})
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.work or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        shards = small_set(folder, args.views)
        for ranks in args.ranks:
            launch(ranks, args, folder, shards)
        places = [
            (module, ranks, workers) for module in args.modules for ranks in args.ranks for workers in args.workers
        ]
        found = {place: compared(folder, *place, (1, 0)) for place in places}
    show(
        f"largest difference from one rank, goal {GOAL:g} ({machine()})",
        ["module", "ranks", "workers", "weights", "losses", "metrics"],
        [_difference_row(*place, figures) for place, figures in found.items()],
    )
    timed = {place: figures for place, figures in found.items() if "fit_steps_per_s" in figures}
    show(
        "steps/s of the fit, over a hand-written loop, and bytes a step that a rank gives to collectives",
        ["module", "ranks", "workers", "steps/s", "/ loop", "gradients B", "others B", "trained B"],
        [_cost_row(*place, figures) for place, figures in timed.items()],
    )
    runs = [{"module": m, "ranks": r, "workers": w, **figures} for (m, r, w), figures in found.items()]
    write_figures(args.out, args, {"goal": GOAL, "runs": runs})


if __name__ == "__main__":
    main()
