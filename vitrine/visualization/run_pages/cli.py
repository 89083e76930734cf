"""Command line of ``vitrine report``: writes the index pages of folders of runs anew."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from vitrine.core.command_line import exit_code_of
from vitrine.visualization.run_pages.run_index import write_run_index

DESCRIPTION = """Writes RUN/index.html, which lists and links all that a run's folder holds (report, contact sheets, average
images, predictions, curves, metrics), and RUN/curves.html where the run was tested. train.py and vitrine explain do so by
themselves when they end; this command does it after files were added, moved or removed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code: 0, 2 (user error) or 130 (Ctrl-C)."""
    parser = ArgumentParser("vitrine report", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folder of a run, or what vitrine explain wrote"
    )
    args = parser.parse_args(arguments)
    return exit_code_of(lambda: _report(args))


def _report(args: Namespace) -> int:
    for folder in args.runs:
        sys.stdout.write(f"Results: {write_run_index(folder)}\n")
    return 0
