"""Command lines that make a table of tested runs: their common options, and where the table goes."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from vitrine.core.atomic_io import atomic_file
from vitrine.core.command_line import exit_code_of


def table_parser(module: str, description: str) -> argparse.ArgumentParser:
    """A command line of runs, of the bootstrap over their images, and of the file that the table goes to.

    Args:
        module: that is run, after ``experiments.``.
        description: of the command.
    """
    command = argparse.ArgumentParser(prog=f"python -m experiments.{module}", description=description)
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders that train.py test has written")
    command.add_argument("--resamples", type=int, default=2000, help="of the bootstrap over images (%(default)s)")
    command.add_argument("--seed", type=int, default=0, help="of the bootstrap (%(default)s)")
    command.add_argument("--out", type=Path, metavar="FILE", help="Markdown file; on the terminal without it")
    return command


def show_table(
    command: argparse.ArgumentParser, arguments: Sequence[str] | None, make: Callable[[argparse.Namespace], str]
) -> int:
    """Makes the Markdown table that a command line asks for, writes it, and returns the exit code."""
    args = command.parse_args(arguments)
    return exit_code_of(lambda: _write(make(args), args.out))


def _write(text: str, out: Path | None) -> int:
    if out is None:
        sys.stdout.write(text)
        return 0
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(out) as partial:
        partial.write_text(text, encoding="utf-8")
    return 0
