"""The command line of ``python -m vitrine.shards``: one sub-command a data set, and ``verify``."""

import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vitrine.data.shards.converter import Converter, write_set
from vitrine.data.shards.converters import ade20k, cub, folder, imagenet, places, saliency, tiny_imagenet, voc, wsol
from vitrine.data.shards.schema import ShardIndex
from vitrine.data.shards.verifier import verify

CONVERTERS: tuple[Converter, ...] = (
    ade20k.CONVERTER,
    cub.CONVERTER,
    folder.CONVERTER,
    imagenet.CONVERTER,
    places.CONVERTER,
    saliency.CONVERTER,
    tiny_imagenet.CONVERTER,
    voc.CONVERTER,
    wsol.CONVERTER,
)

_WRONG, _USAGE, _INTERRUPTED = 1, 2, 130
_SHOWN_PROBLEMS = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and gives its exit code: 0, 1 (verify found problems), 2 (the user erred) or 130 (Ctrl-C)."""
    args = _build_parser().parse_args(arguments)
    try:
        return int(args.run(args))
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return _USAGE
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted: nothing was written.\n")
        return _INTERRUPTED


def _build_parser() -> ArgumentParser:
    parser = ArgumentParser("python -m vitrine.shards", description="Makes and verifies shards.", allow_abbrev=False)
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
    command.add_argument("--shard-size", type=_at_least_one, default=1000, metavar="N", help="samples a shard (1000)")
    command.add_argument("--seed", type=int, default=0, help="seed of the shuffle before sharding (0)")
    _add_workers(command)


def _add_verify(command: ArgumentParser) -> None:
    command.description = "Checks checksums, counts, keys, records, and that every image decodes."
    command.add_argument("folder", type=Path, metavar="DIR", help="split folder to check")
    _add_workers(command)
    command.set_defaults(run=_verify)


def _add_workers(command: ArgumentParser) -> None:
    cpus = os.cpu_count() or 1
    command.add_argument("--workers", type=_at_least_zero, default=cpus, metavar="N", help=f"processes ({cpus})")


def _at_least_one(text: str) -> int:
    return _whole_number(text, 1)


def _at_least_zero(text: str) -> int:
    return _whole_number(text, 0)


def _whole_number(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise ArgumentTypeError(f"{text!r} is no whole number of {least} or more")
    return value


def _convert(args: Namespace) -> int:
    listed = args.list_samples(args)
    index = write_set(listed, args.out, shard_size=args.shard_size, workers=args.workers, seed=args.seed)
    _show_summary(index, args.out, "written")
    for note in listed.notes:
        sys.stderr.write(f"{note}\n")
    return 0


def _verify(args: Namespace) -> int:
    outcome = verify(args.folder, workers=args.workers)
    if outcome.index is not None and not outcome.problems:
        _show_summary(outcome.index, args.folder, "whole")
        return 0
    for problem in outcome.problems[:_SHOWN_PROBLEMS]:
        sys.stderr.write(f"{problem}\n")
    if hidden := len(outcome.problems) - _SHOWN_PROBLEMS:
        sys.stderr.write(f"… and {hidden} more problems\n" if hidden > 0 else "")
    return _WRONG


def _show_summary(index: ShardIndex, path: Path, state: str) -> None:
    table = Table(title=f"{path}: {state}", title_justify="left")
    row = {
        "data set": index.dataset,
        "split": index.split,
        "samples": str(index.count),
        "classes": str(len(index.classes)),
        "shards": str(len(index.shards)),
        "annotations": ", ".join(index.annotations) or "labels only",
    }
    for name in row:
        table.add_column(name)
    table.add_row(*row.values())
    Console(markup=False).print(table)
