"""Command line of the papers' tables and figures.

    python -m experiments list
    python -m experiments run qi2018/table1_mobilenet --data ../shared/data

Each run of ``train.py`` that an experiment names is run once, in a folder of its own below ``--out``; the same command goes
on where an earlier one was stopped. Tables and figures are written beside the runs.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from experiments.needs import lacking
from experiments.pictures import write_figures
from experiments.planning import Places
from experiments.reading import experiment_files, find_experiment, read_experiment
from experiments.running import Runner
from experiments.tables import write_tables
from vitrine.core.command_line import exit_code_of

TINY_FOLDER = "tiny"
"""Below ``--out``: all that is written with ``--tiny``."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    both = argparse.ArgumentParser(add_help=False)
    both.add_argument(
        "--data", type=Path, default=Path("data"), metavar="DIR", help="folder of data sets (%(default)s)"
    )
    command = argparse.ArgumentParser(
        prog="python -m experiments",
        description="Makes the papers' tables and figures with train.py.",
        epilog="Example: python -m experiments run qi2018/table1_mobilenet --data ../shared/data",
    )
    commands = command.add_subparsers(dest="command", required=True)
    commands.add_parser("list", parents=[both], help="all experiments, what they take, and what they lack below --data")
    run = commands.add_parser("run", parents=[both], help="run what is not complete of one, and make its table")
    run.add_argument("name", help="of the experiment, PAPER/NAME, or NAME alone")
    run.add_argument(
        "--out", type=Path, default=Path("runs/experiments"), metavar="DIR", help="all that is written (%(default)s)"
    )
    run.add_argument("--tiny", action="store_true", help="on a tiny set in the official layout, below OUT/tiny")
    run.add_argument("--only", nargs="+", default=[], metavar="RUN", help="these runs alone, and the table")
    run.add_argument(
        "--table-only", action="store_true", help="run nothing; make the table and figures of what is there"
    )
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    args = parser().parse_args(arguments)
    return exit_code_of(lambda: show_list(args.data) if args.command == "list" else run(args))


def show_list(data: Path) -> int:
    """Shows all experiments: name and minutes, then the title, and what is lacking below ``data``."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for path in experiment_files().values():
        experiment = read_experiment(path)
        minutes = "" if experiment.fits is None else f" ({experiment.fits.minutes} min)"
        lacks = lacking(experiment, Places(data, Path()))
        console.print(f"{experiment.name}{minutes}")
        console.print(f"    {experiment.title}")
        if lacks:
            console.print(f"    lacks below {data}: {', '.join(lacks)}")
    return 0


def run(args: argparse.Namespace) -> int:
    """Runs an experiment and makes its table and figures."""
    experiment = find_experiment(args.name)
    out = args.out / TINY_FOLDER if args.tiny else args.out  # so that neither takes runs or shards of the other
    places = Places(args.data.resolve(), out.resolve(), args.tiny)
    if not args.table_only:
        Runner(experiment, places).run(args.only)
    made = write_tables(experiment, places)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    if made is not None:
        Console().print(Markdown(made.read_text(encoding="utf-8")))
        console.print(f"Table: {made}")
    for path in write_figures(experiment, places):
        console.print(f"Figure: {path}")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
