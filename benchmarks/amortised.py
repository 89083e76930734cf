"""Rows for masks of predicted channel weights, on networks whose classes the predictor has not seen."""

import argparse
from functools import partial

import vitrine
from benchmarks.method_table import Entry
from vitrine.attribution import InversionMask
from vitrine.explainers import InversionExplainer

AMORTISED_STEPS = (0, 5)
"""Steps of the class stage after the prediction."""


def add_predictors(parser: argparse.ArgumentParser) -> None:
    """--predictors NETWORK=FOLDER …."""
    parser.add_argument(
        "--predictors",
        nargs="+",
        default=[],
        metavar="NETWORK=FOLDER",
        help="inversion explainers fitted to these networks, whose predictors start masks of the new classes (none)",
    )


def amortised_rows(network: str, predictors: list[str]) -> dict[str, Entry]:
    """The rows of a network by name; none where no predictor is given for it.

    Raises:
        FileNotFoundError: where a folder holds no explainer.
        ValueError: for an explainer without a predictor.
    """
    folders = dict(given.split("=", 1) for given in predictors)
    if network not in folders:
        return {}
    explainer = vitrine.load(folders[network])
    if not isinstance(explainer, InversionExplainer) or explainer.predictor is None:
        raise ValueError(
            f"{folders[network]} holds no inversion explainer with a predictor; fit one with predictor: 64."
        )
    settings = {"variant": explainer.options.variant, **explainer.options.overrides}
    method = partial(InversionMask, predictor=explainer.predictor)
    return {
        f"InversionMask+amortised, {steps} steps": Entry(
            method, {**settings, "inversion_steps": 0, "class_steps": steps}
        )
        for steps in AMORTISED_STEPS
    }
