"""Command line of ``python -m vitrine.shards``: a sub-command for each data set, and ``verify``."""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vitrine.core.command_line import PROBLEMS, exit_code_of
from vitrine.core.options import Count, CountOrZero
from vitrine.data.shards.converter import Converter, number_type, write_set
from vitrine.data.shards.converters import (
    ade20k,
    cub,
    folder,
    imagenet,
    mnist,
    places,
    saliency,
    tiny_imagenet,
    voc,
    wsol,
)
from vitrine.data.shards.schema import ShardIndex
from vitrine.data.shards.verifier import verify

CONVERTERS: tuple[Converter, ...] = (
    ade20k.CONVERTER,
    cub.CONVERTER,
    folder.CONVERTER,
    imagenet.CONVERTER,
    mnist.CONVERTER,
    places.CONVERTER,
    saliency.CONVERTER,
    tiny_imagenet.CONVERTER,
    voc.CONVERTER,
    wsol.CONVERTER,
)

_MAX_SHOWN_PROBLEMS = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0, 1 (verify found problems), 2 (user error) or 130 (Ctrl-C)."""
    args = _build_parser().parse_args(arguments)
    return exit_code_of(lambda: int(args.run(args)), interrupted="Interrupted: nothing was written.")


def _build_parser() -> ArgumentParser:
    parser = ArgumentParser("vitrine shards", description="Makes and verifies shards.", allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for converter in CONVERTERS:
        command = commands.add_parser(
            converter.name, help=converter.help, description=f"Converts {converter.help}.", allow_abbrev=False
        )
        converter.add_arguments(command)
        _add_writer_arguments(command)
        command.set_defaults(run=_convert, list_samples=converter.list_samples)
    _add_verify(commands.add_parser("verify", help="check a split folder", allow_abbrev=False))
    return parser


def _add_writer_arguments(command: ArgumentParser) -> None:
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="split folder to make; must not exist")
    command.add_argument(
        "--shard-size", type=number_type(Count), default=1000, metavar="N", help="samples in a shard (1000)"
    )
    command.add_argument("--seed", type=int, default=0, help="seed of the shuffle before sharding (0)")
    _add_workers(command)


def _add_verify(command: ArgumentParser) -> None:
    command.description = "Checks checksums, counts, keys, records, and that every image decodes."
    command.add_argument("folder", type=Path, metavar="DIR", help="split folder to check")
    _add_workers(command)
    command.set_defaults(run=_verify)


def _add_workers(command: ArgumentParser) -> None:
    cpus = os.cpu_count() or 1
    command.add_argument(
        "--workers", type=number_type(CountOrZero), default=cpus, metavar="N", help=f"processes ({cpus})"
    )


def _convert(args: Namespace) -> int:
    samples = args.list_samples(args)
    index = write_set(samples, args.out, shard_size=args.shard_size, workers=args.workers, seed=args.seed)
    _show_summary(index, args.out, "written")
    for note in samples.notes:
        sys.stderr.write(f"{note}\n")
    return 0


def _verify(args: Namespace) -> int:
    outcome = verify(args.folder, workers=args.workers)
    if outcome.index is not None and not outcome.problems:
        _show_summary(outcome.index, args.folder, "whole")
        return 0
    for problem in outcome.problems[:_MAX_SHOWN_PROBLEMS]:
        sys.stderr.write(f"{problem}\n")
    if hidden := len(outcome.problems) - _MAX_SHOWN_PROBLEMS:
        sys.stderr.write(f"… and {hidden} more problems\n" if hidden > 0 else "")
    return PROBLEMS


def _show_summary(index: ShardIndex, path: Path, state: str) -> None:
    table = Table(title=f"{path}: {state}", title_justify="left")
    columns = {
        "data set": index.dataset,
        "split": index.split,
        "samples": str(index.count),
        "classes": str(len(index.classes)),
        "shards": str(len(index.shards)),
        "annotations": ", ".join(index.annotations) or "labels only",
    }
    for name in columns:
        table.add_column(name)
    table.add_row(*columns.values())
    Console(markup=False).print(table)
