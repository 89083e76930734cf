"""Command line of ``vitrine explain``."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from rich.console import Console
from rich.text import Text

from vitrine.core.command_line import SentenceParser, exit_code_of, listed
from vitrine.core.options import OptionError
from vitrine.explain.options import ExplainOptions

DESCRIPTION = """Explains what a model looks at on your pictures: writes OUT/report/index.html, a page of all pictures with
their predictions and heatmaps, and OUT/predictions/, an overlay a picture and method at the picture's own size with a table
of all predictions. Pictures need no labels; folders that name classes of the network are taken as labels."""
EPILOG = """examples:
  vitrine explain --images pictures --model resnet50
  vitrine explain --images pictures --model mobilenet_v2 --weights mine.pth --classes names.txt --with GradCAM,EBP,SRAE
  vitrine explain --images cat.jpg --model model.py:MyNet --weights mine.pth --target "tabby cat"
  vitrine explain --images pictures --model runs/folder_srae/explainer"""


def main(arguments: Sequence[str] | None = None, prog: str = "vitrine explain") -> int:
    """Runs the command and returns its exit code; 2 after a wrong argument, with one sentence."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return exit_code_of(lambda: _run(given, prog))


def _run(arguments: Sequence[str], prog: str) -> int:
    options = parsed(arguments, prog)
    # Imported once the line is known to be right: torch takes seconds.
    from vitrine.explain.run import explain  # noqa: PLC0415

    console = Console(highlight=False, soft_wrap=True)

    def tell(heading: str, text: str) -> None:
        console.print(Text(f"{heading:<18}", style="bold"), Text(text), sep="")

    found = explain(options, tell)
    for name, value in found.metrics.items():
        tell(name, f"{value:.1%}" if name == "accuracy" else f"{value:g}")
    for sentence in found.left_out:
        tell("left out", sentence)
    tell("table", f"{found.predictions} (overlays beside it)")
    tell("report", str(found.report))
    tell("Results", str(found.index))
    return 0


def parsed(arguments: Sequence[str], prog: str = "vitrine explain") -> ExplainOptions:
    """The options that a command line names.

    Raises:
        OptionError: for a value that makes no sense, by the name it has on the command line.
        ValueError: for an unknown or a missing argument.
    """
    values = vars(_parser(prog).parse_args(arguments))
    explainers = listed(values.pop("explainers"))
    command = " ".join([prog, *arguments])
    try:
        return ExplainOptions(**values, explainers=explainers, command=command)
    except OptionError as error:
        raise OptionError(f"--{error.name.replace('_', '-')}", error.value, error.wanted) from error


def _parser(prog: str) -> argparse.ArgumentParser:
    usual = {one.name: one.default for one in fields(ExplainOptions)}
    parser = SentenceParser(
        prog=prog,
        description=DESCRIPTION,
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    add = parser.add_argument
    add(
        "--images",
        required=True,
        type=Path,
        metavar="DIR",
        help="folder of pictures, also in its folders; or a picture",
    )
    add(
        "--model",
        required=True,
        help="resnet50, timm:NAME, hf:FOLDER, model.py:MyNet, package.module:MyNet, or the folder of a saved explainer",
    )
    add(
        "--weights",
        metavar="FILE",
        help="of the model: a file, or an entry of its table; none for random (the table's)",
    )
    add("--out", type=Path, metavar="DIR", help=f"where the results go ({usual['out']})")
    add(
        "--with",
        dest="explainers",
        action="append",
        default=[],
        metavar="NAME,…",
        help="methods (GradCAM, EBP, LRP, IG …), InversionMask, SRAE and MuLasso, which are fitted on the pictures, and"
        " folders of saved explainers (those of GradCAM, EBP and LRP that suit the model)",
    )
    add(
        "--classes",
        type=Path,
        metavar="FILE",
        help="names of the logits: one a line, or a list or label map (JSON, YAML)",
    )
    add("--num-classes", type=int, help="number of logits, if neither model nor weights say it")
    add("--target", metavar="CLASS", help="explained class: predicted, label, or a name or index (predicted)")
    add(
        "--labels",
        choices=("auto", "folders", "none"),
        help="whether folders are labels (auto: where they name classes)",
    )
    add("--class-map", nargs="+", metavar="FOLDER=CLASS", help="classes of folders that are named otherwise")
    add("--size", type=int, help="side of the model's input in pixels (as its library says)")
    add("--batch-size", type=int, help=f"pictures that are explained at once ({usual['batch_size']})")
    add("--device", help="auto, cpu, cuda, cuda:1 (auto)")
    add("--epochs", type=int, help=f"of SRAE's fit ({usual['epochs']})")
    add("--min-pictures", type=int, help=f"of a class that SRAE or MuLasso is fitted on ({usual['min_pictures']})")
    add("--seed", type=int, help=f"of all that is random ({usual['seed']})")
    return parser


if __name__ == "__main__":
    sys.exit(main())
