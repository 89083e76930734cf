"""Command line of ``python -m vitrine.features``: lists, verifies and prunes stores of features."""

import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vitrine.core.command_line import PROBLEMS, exit_code_of
from vitrine.core.locks import LockHeldError
from vitrine.core.memory import readable_size
from vitrine.data.feature_store.checking import damaged_chunks
from vitrine.data.feature_store.chunk_file import chunk_name
from vitrine.data.feature_store.inventory import StoreEntry, is_in_use, list_stores, remove_store, tidy_store, to_prune


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0, 1 (verify found damage), 2 (user error) or 130 (Ctrl-C)."""
    args = _build_parser().parse_args(arguments)
    return exit_code_of(lambda: int(args.run(args)))


def _build_parser() -> ArgumentParser:
    parser = ArgumentParser(
        "vitrine features",
        description="Lists, verifies and prunes the features that fits have computed and kept on disk.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, help_text, description in (
        ("list", _list, "show all stores", "Shows the stores of features: sizes, states, and what each belongs to."),
        ("verify", _verify, "check all checksums", "Reads every chunk and compares its checksum."),
        ("prune", _prune, "remove what is not needed", _PRUNE_TEXT),
    ):
        command = commands.add_parser(name, help=help_text, description=description, allow_abbrev=False)
        command.add_argument(
            "--folder", type=Path, default=Path("data/features"), metavar="DIR",
            help="folder of the stores, as data.init_args.features.folder (data/features)",
        )  # fmt: skip
        command.set_defaults(run=run)
    commands.choices["verify"].add_argument(
        "--remove", action="store_true", help="remove damaged chunks, which the next fit then computes again"
    )
    _add_prune_arguments(commands.choices["prune"])
    return parser


_PRUNE_TEXT = (
    "Shows the stores that may go: of an earlier version, incomplete ones that no run computes, and those whose weights or"
    " shards are gone or others now. With --yes they are removed."
)


def _add_prune_arguments(command: ArgumentParser) -> None:
    command.add_argument("--yes", action="store_true", help="remove them; without it they are only shown")
    command.add_argument(
        "--older-than", type=_positive, metavar="DAYS", help="also those that were not used for so many days"
    )
    command.add_argument(
        "--max-gb", type=_positive, metavar="GB", help="also those used longest ago, until the rest is no larger"
    )


def _positive(text: str) -> float:
    number = float(text)
    if not number >= 0:
        raise ValueError(text)
    return number


def _list(args: Namespace) -> int:
    stores = list_stores(args.folder)
    table = Table(title=f"{args.folder}: {_count(len(stores))}, {_total(stores)}", title_justify="left")
    for column in ("store", "split", "network", "layer", "rows × width", "type", "size", "state", "last used"):
        table.add_column(column, overflow="fold")
    for store in stores:
        table.add_row(*_row(store))
    Console(markup=False, width=None if sys.stdout.isatty() else 200).print(table)
    return 0


def _row(store: StoreEntry) -> Sequence[str]:
    manifest = store.manifest
    size, dtype = ("", "") if manifest is None else (f"{manifest.rows} × {manifest.width}", manifest.dtype)
    places = [store.belongs_to(name) for name in ("split", "network", "layer")]
    return [store.folder.name, *places, size, dtype, readable_size(store.size), store.state, _age(store.used)]


def _verify(args: Namespace) -> int:
    damaged = 0
    for store in (store for store in list_stores(args.folder) if store.manifest is not None):
        for number, damage in damaged_chunks(store.folder, every=True, shown=True).items():
            damaged += 1
            path = store.folder / chunk_name(number)
            if args.remove:
                path.unlink(missing_ok=True)
            then = "removed, the next fit computes it again" if args.remove else "--remove removes it"
            sys.stderr.write(f"{path} {damage}; {then}.\n")
    if not damaged:
        sys.stdout.write(f"{args.folder}: every chunk is whole.\n")
    return PROBLEMS if damaged else 0


def _prune(args: Namespace) -> int:
    stores = list_stores(args.folder)
    max_bytes = None if args.max_gb is None else args.max_gb * 1e9
    found = [pair for pair in to_prune(stores, args.older_than, max_bytes) if not is_in_use(pair[0])]
    for store, reason in found:
        sys.stdout.write(f"{store.folder} ({readable_size(store.size)}) {reason}\n")
    told = f"{_count(len(found))}, {_total([store for store, _ in found])}"
    if not args.yes:
        sys.stdout.write(f"{told} may go; --yes removes them.\n" if found else "Nothing may go.\n")
        return 0
    for store in stores:
        tidy_store(store)
    for store, _ in found:
        try:
            remove_store(store)
        except LockHeldError as error:
            sys.stderr.write(f"{error}\n")
    sys.stdout.write(f"{told} removed.\n")
    return 0


def _count(stores: int) -> str:
    return "1 store" if stores == 1 else f"{stores} stores"


def _total(stores: Sequence[StoreEntry]) -> str:
    return readable_size(sum(store.size for store in stores))


def _age(moment: float) -> str:
    minutes = max(time.time() - moment, 0) / 60
    if minutes < 120:
        return f"{minutes:.0f} min ago"
    return f"{minutes / 60:.0f} h ago" if minutes < 48 * 60 else f"{minutes / 1440:.0f} days ago"
