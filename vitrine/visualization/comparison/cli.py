"""Command line of ``python -m vitrine.compare``: tables, curves and images of tested runs beside each other."""

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

from vitrine.core.command_line import exit_code_of
from vitrine.visualization.comparison.comparison import ComparisonOptions, read_comparison
from vitrine.visualization.comparison.writing import PAGE_NAME, write_comparison

DESCRIPTION = """\
Compares methods that train.py test has tested on the same images.

Writes into --out: compare.csv (a row a method, all digits), compare.md and compare.html (the best marked, and what is within
chance of it; the page has curves, images and all differences as well), compare_differences.csv and compare_images.jpg.
"""
EXAMPLES = """\
examples:
  vitrine compare runs/srae runs/gradcam --out runs/compared
  vitrine compare runs/flower_methods runs/quickstart --out runs/compared --sort iou
  vitrine compare runs/* --out runs/compared --figures iou 'localization/*' 'insertion_deletion/*'
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code: 0, 2 (user error) or 130 (Ctrl-C)."""
    args = _build_parser().parse_args(arguments)
    return exit_code_of(lambda: _compare(args))


def _build_parser() -> ArgumentParser:
    parser = ArgumentParser(
        "vitrine compare", description=DESCRIPTION, epilog=EXAMPLES, allow_abbrev=False,
        formatter_class=RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN",
        help="folder of a tested run; one with a folder explainers/ stands for all in that",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the comparison")
    parser.add_argument(
        "--sort", metavar="FIGURE", help="sort by this figure, the best first (in the order of the runs)"
    )
    parser.add_argument(
        "--figures", nargs="+", default=[], metavar="GLOB",
        help="compare these figures, such as iou or 'localization/*' (all)",
    )  # fmt: skip
    defaults = ComparisonOptions()
    parser.add_argument(
        "--resamples", type=int, default=defaults.resamples, metavar="N", help="of the bootstrap (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=defaults.seed, metavar="N", help="of the bootstrap (%(default)s)")
    parser.add_argument(
        "--confidence", type=float, default=defaults.confidence, metavar="SHARE", help="of the intervals (%(default)s)"
    )
    return parser


def _compare(args: Namespace) -> int:
    options = ComparisonOptions(args.sort, tuple(args.figures), args.resamples, args.seed, args.confidence)
    comparison = read_comparison(args.runs, options)
    write_comparison(comparison, args.out)
    sys.stdout.write(f"{len(comparison.methods)} methods compared: {args.out / PAGE_NAME}\n")
    return 0
