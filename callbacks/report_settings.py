"""Settings at the head of a report: backbone, layer, classes, accuracy, seed and command of the run."""

import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from callbacks.preflight_facts import RANDOM_WEIGHTS, has_random_weights
from callbacks.run_access import Run, asked, backbone_options
from vitrine.core.credentials import hide_credentials
from vitrine.core.explanation import class_name

FIRST = 4
"""Names of classes that are told."""


def report_settings(run: Run, accuracy: str, shown: str) -> dict[str, str]:
    """What a report says of its run, by what it is; what is not known is left out.

    Args:
        run: whose results are reported.
        accuracy: of the backbone on what was tested.
        shown: which images the report shows.
    """
    told = {
        "Backbone": _backbone(run),
        "Layer": _layer(run),
        "Explainer": type(run.explainer).__name__,
        "Method": str(asked(run.explainer, "options.method") or ""),
        "Data set": name_of_data(run),
        "Classes": _classes(run),
        "Accuracy": accuracy,
        "Shown": shown,
        "Seed": os.environ.get("PL_GLOBAL_SEED", ""),
        "Checkpoint": str(run.trainer.ckpt_path or "none: as initialised"),
        "Command": hide_credentials(shlex.join(["python", *sys.argv])),
    }
    return {name: text for name, text in told.items() if text}


def name_of_data(run: Run) -> str:
    """The datamodule by its class, which may be seen through a translation of its labels."""
    name: str = type(run.trainer.datamodule).__name__  # type: ignore[attr-defined]
    return name.removesuffix("DataModule")


def _backbone(run: Run) -> str:
    if has_random_weights(run.module):
        return RANDOM_WEIGHTS
    options: Any = backbone_options(run.module) or asked(run.explainer, "backbone.options")
    return "" if options is None else f"{options.name}, weights {options.weights or 'as given'}"


def _layer(run: Run) -> str:
    """The layers that the explainer reads, as its options name them."""
    options = asked(run.explainer, "options")
    names = ("layer", "layers", "inversion_layer", "mask_layers")
    found = [value for name in names if (value := getattr(options, name, None))]
    texts = [text if isinstance(text, str) else ", ".join(map(str, text)) for text in found]
    return " and ".join(texts) or str(asked(options, "arguments.layer") or "")


def _classes(run: Run) -> str:
    """How many classes are explained, and the first of them."""
    explained: Sequence[int] = asked(run.explainer, "explained_classes") or ()
    names = [class_name(run.class_names, index) for index in explained] or run.class_names
    return f"{len(names)}: {', '.join(names[:FIRST])}{', …' if len(names) > FIRST else ''}"
