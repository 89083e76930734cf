"""Start-up times: ``train.py --help`` over importing PyTorch Lightning, and ``import vitrine``.

    python -m benchmarks.startup

Each is a Python process of its own, started anew in every round. Prints a table and writes one JSON.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.common import machine, show, write_figures
from benchmarks.rounds import ratio, side_by_side

ROOT = Path(__file__).parents[1]
LIGHTNING, TRAIN, PYTHON, VITRINE = "import pytorch_lightning", "train.py --help", "python", "import vitrine"
COMMANDS: Mapping[str, Sequence[str]] = {
    LIGHTNING: ["-c", "import pytorch_lightning"],
    TRAIN: [str(ROOT / "train.py"), "--help"],
    PYTHON: ["-c", ""],
    VITRINE: ["-c", "import vitrine"],
}
"""Arguments of Python by name."""


def start(arguments: Sequence[str]) -> None:
    """Runs Python to its end.

    Raises:
        subprocess.CalledProcessError: where it fails.
    """
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, cwd=ROOT)  # noqa: S603


def smoke() -> Mapping[str, float]:
    """The ratios of one start of each, see `benchmarks.smoke`; a second round would take as long as all other parts."""
    seconds: dict[str, float] = {}
    for name, arguments in COMMANDS.items():
        began = time.perf_counter()
        start(arguments)
        seconds[name] = time.perf_counter() - began
    return {
        f"startup: {LIGHTNING} / {TRAIN}": seconds[LIGHTNING] / seconds[TRAIN],
        f"startup: {LIGHTNING} / {VITRINE}": seconds[LIGHTNING] / seconds[VITRINE],
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds (%(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/benchmarks/startup.json"), help="the figures as JSON (%(default)s)"
    )
    args = parser.parse_args()
    runs = {name: partial(start, arguments) for name, arguments in COMMANDS.items()}
    times = side_by_side(runs, args.rounds)
    ratios = {name: ratio(times, name, LIGHTNING) for name in COMMANDS}
    rows = [[name, f"{statistics.median(times[name]):.2f} s", f"{ratios[name]:.2f}"] for name in COMMANDS]
    show(f"Starts ({machine()})", ["", "time", f"over {LIGHTNING}"], rows)
    write_figures(args.out, args, {"seconds": times, f"over {LIGHTNING}": ratios})


if __name__ == "__main__":
    main()
