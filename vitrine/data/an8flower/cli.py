"""Command line of ``python -m vitrine.an8flower``, which generates a variant of an8Flower."""

import argparse
from collections.abc import Sequence
from dataclasses import MISSING, fields
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from vitrine.core.options import Count, check_value
from vitrine.data.an8flower.settings import FlowerSettings
from vitrine.data.an8flower.variants import VARIANTS

_HELP = {
    "views": "frames of a full turn",
    "size": "side of a frame in pixels",
    "crops": "crops of a frame, 1 to 5: the centre, then the corners",
    "rotations": "rotations of a crop, 1 to 5: by 5, 10, 15, 20 and 25 degrees",
    "crop_size": "side of a crop in pixels",
    "folds": "number of folds; view v belongs to fold v mod folds",
    "test_fold": "the fold that is the test split",
    "supersampling": "sub-samples along each side of a pixel",
    "seed": "of the plant's small irregularities and of the shards' order",
    "without_parts": "give each test image its part map, and the images of the plant without each part (slower)",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code: 0, or 2 after a user error, with one sentence on stderr."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        _run(_parser().parse_args(arguments), console)
    except (ValueError, OSError) as error:
        console.print(f"error: {error}", markup=False)
        return 2
    return 0


def _run(options: argparse.Namespace, console: Console) -> None:
    settings = FlowerSettings(**{field.name: getattr(options, field.name) for field in fields(FlowerSettings)})
    check_value("workers", options.workers, Count | None)
    for package in ("trimesh", "embreex"):
        if find_spec(package) is None:
            raise ValueError(f"The package {package} is not installed; run pip install 'vitrine[synthetic]'.")
    from vitrine.data.an8flower.generate import generate  # noqa: PLC0415 - needs the packages looked for above

    written = generate(settings, options.out, workers=options.workers, if_missing=options.if_missing)
    for folder in written:
        console.print(f"wrote {folder}", markup=False)
    if not written:
        console.print(f"{options.out} has the set already", markup=False)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m vitrine.an8flower", description="Generates an8Flower shards.", allow_abbrev=False)
    parser.add_argument("--variant", required=True, help=", ".join(VARIANTS))
    parser.add_argument("--out", required=True, type=Path, help="folder for train, test and settings.json")
    for field in fields(FlowerSettings):
        if field.default is not MISSING:
            option = f"--{field.name.replace('_', '-')}"
            if isinstance(field.default, bool):
                parser.add_argument(option, action="store_true", help=_HELP[field.name])
            else:
                parser.add_argument(option, type=int, default=field.default, help=f"{_HELP[field.name]} (%(default)s)")
    parser.add_argument("--workers", type=int, help="processes (one for each CPU)")
    parser.add_argument("--if-missing", action="store_true", help="do nothing if the set exists")
    return parser
