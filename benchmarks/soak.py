"""Memory and open files of a long fit, in one process: whether they grow with the steps.

    python -m benchmarks.soak --modules srae classifier --minutes 60

Fits each module on a small flower set for so many minutes, with validation after every epoch and checkpoints, and notes the
resident memory and the number of open files every hundred steps. The slope is that of a line through the second half of the
notes, when caches are full. Prints a table and writes one JSON.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl

import train
from benchmarks.common import machine, show, write_figures
from benchmarks.small_runs import MODULES, WITHOUT_FIT, extra_callback, small_set, write_config

Note = tuple[int, int, int]
"""Steps, resident bytes and open files."""


class Watch(pl.Callback):
    """Notes memory and open files, and ends the fit when its time is up.

    Args:
        seconds: of the fit.
        every: steps between two notes.
    """

    def __init__(self, seconds: float, every: int) -> None:
        self.every, self.end = every, time.monotonic() + seconds
        self.notes: list[Note] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Notes, or ends."""
        if trainer.global_step % self.every == 0:
            self.notes.append((trainer.global_step, resident_bytes(), len(list(Path("/proc/self/fd").iterdir()))))
        if time.monotonic() > self.end:
            trainer.should_stop = True


def resident_bytes() -> int:
    """Resident memory of this process, as Linux tells it."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def slope(notes: list[Note]) -> float:
    """Bytes a thousand steps, by least squares over the second half of the notes; 0 for fewer than two."""
    half = np.array(notes[len(notes) // 2 :], dtype=np.float64)
    return 0.0 if len(half) < 2 else float(np.polyfit(half[:, 0], half[:, 1], 1)[0]) * 1000


def soak(module: str, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """The notes of one module's fit."""
    shards = small_set(folder, args.views)
    config = write_config(
        folder / module / "config.yaml", module, shards, folder / "features", epochs=1_000_000, stream=args.stream
    )
    watch = Watch(60 * args.minutes, args.every)
    common = ["-c", str(config), f"--trainer.default_root_dir={folder / module}", "--trainer.logger=false"]
    with extra_callback(watch):
        train.main(["fit", *common, "--data.init_args.loading.batch_size=8", "--data.init_args.loading.num_workers=0"])
    return {"notes": watch.notes, "slope": slope(watch.notes)}


def _row(module: str, found: dict[str, Any]) -> list[str]:
    notes = found["notes"]
    files = {note[2] for note in notes}
    megabytes = [note[1] / 1e6 for note in notes]
    first, last = megabytes[len(megabytes) // 2], megabytes[-1]
    spread = f"{min(files)}–{max(files)}"
    return [module, str(notes[-1][0]), f"{first:.1f}", f"{last:.1f}", f"{found['slope'] / 1e3:.2f}", spread]


def main() -> None:
    """Runs what the options name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choices = [name for name in MODULES if name not in WITHOUT_FIT and name not in {"mu_lasso_exact", "selected"}]
    parser.add_argument(
        "--modules", nargs="+", default=["srae"], choices=choices, metavar="MODULE", help="(%(default)s)"
    )
    parser.add_argument("--minutes", type=float, default=1.0, help="of each module (%(default)s)")
    parser.add_argument("--every", type=int, default=100, help="steps between two notes (%(default)s)")
    parser.add_argument("--stream", action="store_true", help="stream images where features could be kept")
    parser.add_argument("--views", type=int, default=10, help="of each flower (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark_soak.json"), help="figures (%(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = {module: soak(module, Path(temporary), args) for module in args.modules}
    columns = ["module", "steps", "MB at half", "MB at the end", "kB / 1,000 steps", "open files"]
    show(f"{args.minutes:g} minutes each ({machine()})", columns, [_row(*item) for item in found.items()])
    write_figures(args.out, args, {"modules": found})


if __name__ == "__main__":
    main()
