"""Command line of ``vitrine serve``."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from vitrine.core.command_line import SentenceParser, exit_code_of, listed
from vitrine.core.options import OptionError
from vitrine.serve.options import ServeOptions

DESCRIPTION = """Serves a page where one drops a picture, chooses a class and methods, and sees their heatmaps
side by side with the prediction. It is served to this machine alone unless --host says otherwise, and sends nothing away."""
EPILOG = """examples:
  vitrine serve runs/quickstart/explainer
  vitrine serve --model resnet50
  vitrine serve --model mobilenet_v2 --weights mine.pth --classes names.txt --with GradCAM,EBP"""


def main(arguments: Sequence[str] | None = None, prog: str = "vitrine serve") -> int:
    """Serves until Ctrl-C and returns the exit code; 2 after a wrong argument, with one sentence."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return exit_code_of(lambda: _serve(parsed(given, prog)), interrupted="")


def _serve(options: ServeOptions) -> int:
    # Imported once the line is known to be right: torch and gradio take seconds.
    from vitrine.serve.page import launched  # noqa: PLC0415
    from vitrine.serve.served import served_networks  # noqa: PLC0415

    try:
        page = launched(served_networks(options), options)
    except ModuleNotFoundError as error:  # of an extra, whose name it says
        raise ValueError(str(error)) from error
    sys.stdout.write(f"Open {page.local_url} (Ctrl-C ends it)\n")
    sys.stdout.flush()
    page.block_thread()
    return 0


def parsed(arguments: Sequence[str], prog: str = "vitrine serve") -> ServeOptions:
    """The options that a command line names.

    Raises:
        OptionError: for a value that makes no sense, by the name it has on the command line.
        ValueError: for an unknown argument.
    """
    values = vars(_parser(prog).parse_args(arguments))
    methods = listed(values.pop("methods"))
    try:
        return ServeOptions(**values, methods=methods)
    except OptionError as error:
        name = {"explainers": "EXPLAINER", "methods": "--with"}.get(error.name, f"--{error.name.replace('_', '-')}")
        raise OptionError(name, error.value, error.wanted) from error


def _parser(prog: str) -> argparse.ArgumentParser:
    usual = {one.name: one.default for one in fields(ServeOptions)}
    parser = SentenceParser(
        prog=prog,
        description=DESCRIPTION,
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    add = parser.add_argument
    add("explainers", nargs="*", default=[], metavar="EXPLAINER", help="folder of a saved explainer")
    add("--model", help="a network to explain: resnet50, timm:NAME, hf:FOLDER, model.py:MyNet, package.module:MyNet")
    add(
        "--weights",
        metavar="FILE",
        help="of the model: a file, or an entry of its table; none for random (the table's)",
    )
    add("--classes", type=Path, metavar="FILE", help="names of the model's logits: one a line, or JSON or YAML")
    add("--num-classes", type=int, help="number of logits, if neither model nor weights say it")
    add(
        "--with", dest="methods", action="append", default=[], metavar="NAME,…", help="methods that are chosen at first"
    )
    add("--size", type=int, help="side of the model's input in pixels (as its library says)")
    add("--device", help=f"auto, cpu, cuda, cuda:1 ({usual['device']})")
    add("--host", help=f"address to serve on; 0.0.0.0 for all, which makes the page public ({usual['host']})")
    add("--port", type=int, help="port to serve on (the first free one from 7860)")
    add("--max-megabytes", type=int, help=f"of an uploaded picture ({usual['max_megabytes']})")
    add("--max-megapixels", type=int, help=f"of an uploaded picture ({usual['max_megapixels']})")
    add("--seed", type=int, help=f"of methods that draw random numbers ({usual['seed']})")
    return parser
