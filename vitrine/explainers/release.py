"""``python -m vitrine.explainers.release``: makes of a tested run a folder with a model card that can be handed on."""

import argparse
import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from vitrine.core.command_line import SentenceParser, exit_code_of
from vitrine.explainers.card import CARD_NAME
from vitrine.explainers.config_file import read_config
from vitrine.explainers.loading import load

DESCRIPTION = """Writes the explainer of a run into a folder to hand on: heads, network, and a model card,
README.md, with what it was trained on and the figures of the run's test."""


def figures_of(path: Path) -> dict[str, float]:
    """The figures of a run's ``metrics.json``, without counts and details of one, which have a name below its own.

    Raises:
        FileNotFoundError: where there is none, as before a test.
        ValueError: where it holds other than figures by name.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; test the run first: python train.py test.")
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        items = list(entries.items())
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path} does not hold figures by name; test the run again.") from error
    numbers = {name: value for name, value in items if isinstance(value, int | float) and math.isfinite(value)}
    return {name: value for name, value in numbers.items() if name.count("/") == 1}


def release(
    run: Path, out: Path, *, data: str = "", weights: str | None = None, allow: str | Iterable[str] = ()
) -> Path:
    """Writes the explainer of a run with a card; returns the card.

    Args:
        run: folder of the run, with ``explainer/`` and ``metrics.json``.
        out: where to.
        data: a sentence on the data that it was trained and tested on.
        weights: file of the network's weights, which the folder then names in place of holding them.
        allow: as in `vitrine.load`, for a network of one's own class.

    Raises:
        FileNotFoundError: where the run was not fitted, or not tested.
        ValueError: where a file of it is damaged, or the network's class is not allowed.
        FileExistsError: where ``out`` holds other than an explainer.
    """
    figures, config = figures_of(run / "metrics.json"), read_config(run / "explainer")
    explainer = load(run / "explainer", backbone=weights, allow=allow)
    metadata = dict(config.get("metadata") or {}) | ({"data": data} if data else {}) | {"figures": figures}
    explainer.save(out, bundle_backbone=None if weights is None else False, metadata=metadata)
    return out / CARD_NAME


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code; 2 after a wrong argument, with one sentence."""
    return exit_code_of(lambda: _run(_parser().parse_args(arguments)))


def _run(options: argparse.Namespace) -> int:
    card = release(options.run, options.out, data=options.data, weights=options.weights, allow=options.allow)
    sys.stdout.write(f"{card}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = SentenceParser(prog="python -m vitrine.explainers.release", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("run", type=Path, help="folder of a run that was fitted and tested")
    parser.add_argument("out", type=Path, help="where to")
    parser.add_argument("--data", default="", help="a sentence on the data, for the card")
    parser.add_argument("--weights", metavar="FILE", help="of the network, to be named and left out")
    parser.add_argument("--allow", action="append", default=[], help="module or file of a network's own class")
    return parser


if __name__ == "__main__":
    sys.exit(main())
