"""The console script ``vitrine``: one command for each thing that is done from a shell; also ``python -m vitrine``."""

import importlib
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from vitrine.core.command_line import USER_ERROR
from vitrine.core.near_names import did_you_mean
from vitrine.core.version import package_version


class Command(NamedTuple):
    """A command: where it is, and what it does."""

    module: str
    """With ``main(arguments) -> int``."""
    does: str
    first: tuple[str, ...] = ()
    """Arguments that stand before those that are given."""


COMMANDS = {
    "explain": Command("vitrine.explain.cli", "heatmaps, predictions and a report of a model on your pictures"),
    "serve": Command("vitrine.serve.cli", "a page where one drops a picture and sees its heatmaps"),
    "export": Command("vitrine.export.cli", "a saved explainer as an ONNX file"),
    "describe": Command(
        "vitrine.explainers.describe", "layers of a network, and what can be done at each", ("describe",)
    ),
    "embed": Command(
        "vitrine.explainers.describe", "text embeddings of classes, for zero-shot classifiers", ("embed",)
    ),
    "shards": Command("vitrine.data.shards.cli", "make and verify WebDataset shards"),
    "features": Command("vitrine.data.feature_store.cli", "list and remove kept features"),
    "compare": Command("vitrine.visualization.comparison.cli", "tables and a page of runs that were tested"),
    "report": Command("vitrine.visualization.run_pages.cli", "index pages of what runs have written"),
    "sweep": Command("vitrine.sweep.cli", "many settings of a training on this machine, resumable, in one table"),
    "sanity": Command("vitrine.attribution.sanity.__main__", "whether a method's maps depend on the weights at all"),
}
"""By name; each is imported when it is asked for."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command that the first argument names and returns its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    name = given[0] if given else "--help"
    if name in {"-h", "--help"}:
        sys.stdout.write(usage())
        return 0
    if name == "--version":
        sys.stdout.write(f"vitrine {package_version()}\n")
        return 0
    if name not in COMMANDS:
        sys.stderr.write(f"vitrine has no command {name!r}{did_you_mean(name, COMMANDS) or '; see vitrine --help.'}\n")
        return USER_ERROR
    command = COMMANDS[name]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cluster's time limit cleans up as Ctrl-C does
    run: Callable[[Sequence[str]], int] = importlib.import_module(command.module).main
    return run([*command.first, *given[1:]])


def usage() -> str:
    """What ``vitrine --help`` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.does}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: vitrine COMMAND …",
            "",
            "Explains what frozen vision networks look at. Each command has --help.",
            "",
            *lines,
            "",
            "Explainers are trained by train.py in a clone of the repository: python train.py fit -c configs/quickstart.yaml",
            "",
        ]
    )
