"""Command line of the sanity check: ``python -m vitrine.attribution.sanity``."""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from vitrine.attribution.registry import all_methods, method_named
from vitrine.attribution.sanity.check import sanity_check
from vitrine.attribution.sanity.report import THRESHOLD, SanityReport
from vitrine.backbones.networks import build_network
from vitrine.core.atomic_io import atomic_file
from vitrine.core.options import Count, Range, check_value
from vitrine.core.picture_files import PictureSizeError, open_picture
from vitrine.data.preprocessing import Preprocessing
from vitrine.data.shards.images import PICTURE_SUFFIXES

PASSED, FAILED, USAGE = 0, 1, 2
DESCRIPTION = """Re-initialises a trained network's layers one after another from the top and compares an attribution method's
maps with those of the trained network (Adebayo et al., NeurIPS 2018). Exit code 0 if the method passes, 1 if its maps hardly
depend on the weights, 2 for a wrong argument."""
RANGES: dict[str, Any] = {
    "num_classes": Count,
    "size": Count,
    "count": Count,
    "batch_size": Count,
    "stages": Count,
    "threshold": Annotated[float, Range()],
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code: 0 and 1 are the verdict, 2 is a wrong argument, with one sentence."""
    try:
        return _run(_parser().parse_args(arguments))
    except (ValueError, OSError, ModuleNotFoundError) as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"error: {error}", markup=False)
        return USAGE


def _run(options: argparse.Namespace) -> int:
    _check(options)
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device is cuda, but this machine has no CUDA device; leave it out.")
    method = method_named(options.method)
    network = build_network(options.network, options.weights, options.num_classes).eval().to(options.device)
    paths = find_images(options.images, options.count)
    images = load_images(paths, options.size).to(options.device)
    make_method = partial(method, layer=options.layer, internal_batch_size=options.batch_size)
    report = sanity_check(make_method, network, images, stages=options.stages, seed=options.seed, progress=True)
    if options.out is not None:
        write_report(options.out, report, options, paths)
    show(report, options.method, options.threshold)
    return PASSED if report.passes(options.threshold) else FAILED


def _check(options: argparse.Namespace) -> None:
    for name, annotation in RANGES.items():
        value = getattr(options, name)
        if value is not None:
            check_value(f"--{name.replace('_', '-')}", value, annotation)


def find_images(folder: Path, count: int) -> list[Path]:
    """At most ``count`` of the images below a folder, evenly spaced in their sorted paths.

    Raises:
        FileNotFoundError: if there is no such folder, or no image in it.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file())
    if not paths:
        raise FileNotFoundError(
            f"{folder} holds no images ({', '.join(sorted(PICTURE_SUFFIXES))}); give a folder with some."
        )
    return [paths[number * len(paths) // count] for number in range(count)] if len(paths) > count else paths


def load_images(paths: Sequence[Path], size: int) -> Tensor:
    """(B, 3, size, size) images, whose short side is first resized to 8/7 of the size, as 256 is of 224.

    Raises:
        ValueError: if a file is no readable image.
    """
    prepare = Preprocessing(size=size, resize=size * 8 // 7)
    return torch.stack([_load(path, prepare) for path in paths])


def _load(path: Path, prepare: Preprocessing) -> Tensor:
    try:
        with open_picture(path) as image:
            return prepare(image)
    except PictureSizeError as error:
        raise ValueError(f"{path} {error}.") from error
    except Exception as error:  # Pillow's decoders raise many kinds
        raise ValueError(f"{path} is no readable image ({error}); mend or remove it.") from error


def write_report(out: Path, report: SanityReport, options: argparse.Namespace, paths: Sequence[Path]) -> None:
    """Writes the figures with the options and images they depend on, as one JSON object."""
    values = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    entries: dict[str, Any] = report.to_dict(options.threshold) | {
        "options": {name: value for name, value in values.items() if name != "out"},
        "images": [path.relative_to(options.images).as_posix() for path in paths],
    }
    with atomic_file(out) as partial_file:
        partial_file.write_text(json.dumps(entries, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def show(report: SanityReport, method: str, threshold: float) -> None:
    """Prints one row for each stage, and the verdict."""
    table = Table(title=f"{method}: rank correlation with the trained network's maps", title_justify="left")
    for heading in ("re-initialised down to", "map", "|map|", "degenerate"):
        table.add_column(heading, justify="left" if heading == "re-initialised down to" else "right")
    for row in report.rows():
        figures = (row["correlation"], row["absolute_correlation"])
        table.add_row(row["layer"], *("–" if x is None else f"{x:.3f}" for x in figures), str(row["degenerate"]))
    console = Console(markup=False, highlight=False)
    console.print(table)
    console.print(report.verdict(method, threshold), soft_wrap=True)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="vitrine sanity", description=DESCRIPTION, allow_abbrev=False)
    add = parser.add_argument
    add("--method", required=True, help=f"one of {', '.join(all_methods())}")
    add("--network", required=True, help="as a backbone's name: resnet18, timm:NAME, package.module:Class")
    add("--weights", required=True, help="a .pth, .pt or .safetensors file, or an entry of the network's own table")
    add("--images", required=True, type=Path, metavar="FOLDER", help="images, also in its folders")
    add("--num-classes", type=int, help="of the network, if neither it nor the weight file has the number")
    add("--layer", help="the method's layer, if it needs one")
    add("--size", type=int, default=224, help="side of the network's input in pixels (%(default)s)")
    add("--count", type=int, default=16, help="number of images, evenly spaced in the folder (%(default)s)")
    add("--batch-size", type=int, help="images that go through the network at once (all)")
    add("--stages", type=int, help="degrees of randomisation, evenly spaced (one for each layer)")
    add("--seed", type=int, default=0, help="of the new weights (%(default)s)")
    add("--threshold", type=float, default=THRESHOLD, help="a method passes below it (%(default)s)")
    add("--device", default="cpu", choices=("cpu", "cuda"), help="where the network runs (%(default)s)")
    add("--out", type=Path, metavar="FILE", help="write the figures there as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
