"""Command line of ``vitrine sweep``: the settings of a sweep file, run on this machine without an account."""

import os
import subprocess
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path

from rich.console import Console

import vitrine
from vitrine.core.command_line import PROBLEMS, exit_code_of
from vitrine.sweep.run import SweepRun, command_of
from vitrine.sweep.settings import folder_name, settings_of, short_names
from vitrine.sweep.sweep_file import SweepFile, read_sweep
from vitrine.sweep.table import ordered, terminal_table, write_tables

DESCRIPTION = """\
Runs the settings of a W&B sweep file on this machine, each in a folder of its own, and writes one table of all.

Called again it leaves finished runs alone, goes on with stopped ones and tries failed ones again. A metric test/… has each
run tested after its fit. The same file works with `wandb sweep`.
"""
EXAMPLES = """\
examples:
  vitrine sweep configs/sweeps/srae_flower.yaml
  vitrine sweep configs/sweeps/srae_flower.yaml --method random --count 20 --seed 1 --jobs 2
  vitrine sweep configs/sweeps/srae_flower.yaml --dry-run
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code: 0, 1 (a run failed), 2 (user error) or 130 (Ctrl-C)."""
    args = _build_parser().parse_args(arguments)
    again = "Interrupted; the same command goes on where it stopped."
    return exit_code_of(lambda: _sweep(args), interrupted=again)


def _build_parser() -> ArgumentParser:
    parser = ArgumentParser(
        "vitrine sweep", description=DESCRIPTION, epilog=EXAMPLES, allow_abbrev=False,
        formatter_class=RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("file", type=Path, metavar="FILE", help="sweep file in W&B's format")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the runs (runs/sweeps/NAME-OF-THE-FILE)")
    parser.add_argument("--method", choices=("grid", "random"), help="in place of the file's")
    parser.add_argument("--count", type=int, metavar="N", help="at most so many runs (all of a grid, 10 random ones)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of random settings (%(default)s)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at once (%(default)s)")
    parser.add_argument("--test", action="store_true", help="test each run after its fit")
    parser.add_argument("--train", type=Path, metavar="FILE", help="train.py of a clone, where it is not found")
    parser.add_argument("--dry-run", action="store_true", help="show the commands, and run nothing")
    return parser


def _sweep(args: Namespace) -> int:
    for name in ("jobs", "count"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise ValueError(f"--{name} is {getattr(args, name)}; give 1 or more.")
    sweep = read_sweep(args.file)
    out = args.out or Path("runs", "sweeps", args.file.stem)
    runs = runs_of(sweep, args, out)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    if args.dry_run:
        console.print("\n".join(" ".join(command) for run in runs for command in run.commands))
        return 0
    waiting = [run for run in runs if run.state.status != "finished"]
    console.print(f"{len(runs)} runs in {out}, {len(runs) - len(waiting)} of them finished before")
    _execute(waiting, args.jobs, console)
    best_first = ordered(runs, sweep)
    page = write_tables(out, best_first, sweep)
    Console(highlight=False, markup=False).print(terminal_table(best_first, sweep))
    console.print(f"Table: {page}")
    return PROBLEMS if any(run.state.status == "failed" for run in runs) else 0


def runs_of(sweep: SweepFile, args: Namespace, out: Path) -> list[SweepRun]:
    """The runs of a sweep in the order of their settings, one for each folder.

    Raises:
        ValueError: where a folder holds a run of another command, or two settings would share one.
        FileNotFoundError: where there is no train.py.
    """
    settings = settings_of(sweep, args.method, args.count, args.seed)
    short = short_names(list(sweep.parameters))
    varied = {name: short[name] for name, of in sweep.parameters.items() if "value" not in of}
    program = find_program(sweep.program, args.train)
    runs: dict[Path, SweepRun] = {}
    for setting in settings:
        folder = out / folder_name(setting, varied)
        fit = command_of(sweep.command, program, setting, folder)
        tests = args.test or sweep.metric.startswith("test/")
        commands = [fit, ["test" if word == "fit" else word for word in fit]] if tests else [fit]
        if folder in runs and runs[folder].parameters != setting:
            raise ValueError(
                f"{sweep.path}: two settings would share the folder {folder}; give values that differ more."
            )
        runs.setdefault(folder, SweepRun(folder, setting, commands))
    return list(runs.values())


def find_program(name: str, given: Path | None) -> Path:
    """The sweep's script: the one that is given, that of the working directory, or that of this package's own clone.

    Raises:
        FileNotFoundError: where there is none.
    """
    places = [given] if given is not None else [Path(name), Path(vitrine.__file__).parents[1] / name]
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(
        f"{places[0]} does not exist: a sweep trains, which needs a clone, as the package installs the core alone; run it in"
        " the clone, or give --train CLONE/train.py."
    )


def _execute(runs: Sequence[SweepRun], jobs: int, console: Console) -> None:
    """Runs so many at once, a line when each ends; stops all of them with Ctrl-C."""
    threads = {"OMP_NUM_THREADS": str(max((os.cpu_count() or 1) // jobs, 1))} if jobs > 1 else {}
    environment = {name: value for name, value in threads.items() if name not in os.environ}
    started: set[subprocess.Popen[bytes]] = set()
    with ThreadPoolExecutor(jobs) as pool:
        futures: dict[Future[object], SweepRun] = {pool.submit(run.execute, environment, started): run for run in runs}
        try:
            for number, future in enumerate(as_completed(futures), start=1):
                future.result()
                state, folder = futures[future].state, futures[future].folder.name
                told = f"failed: {state.error}" if state.error else f"{state.seconds:.0f} s"
                console.print(f"{number}/{len(runs)}  {folder}  {told}")
                sys.stdout.flush()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(started):
                process.terminate()
            raise
