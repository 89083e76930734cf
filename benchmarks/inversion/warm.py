"""Masks that a trained predictor begins, or gives."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

import vitrine
from vitrine.attribution.inversion import InversionResult, InversionSettings
from vitrine.explainers import InversionExplainer

WHOLE = "from the start"
RESTING = "from the start, until at rest"
BEGUN = "predicted, and a few steps"
ALONE = "predicted"


class Part(NamedTuple):
    """Settings, and whether the predictor begins."""

    settings: InversionSettings
    predicted: bool


def explainer_of(folder: Path, weights: str | None, device: str) -> InversionExplainer:
    """From a folder.

    Raises:
        ValueError: where it is of another kind, or has no predictor.
    """
    explainer = vitrine.load(folder, backbone=weights, device=device)
    if not isinstance(explainer, InversionExplainer) or explainer.predictor is None:
        raise ValueError(f"{folder} holds no InversionExplainer with a predictor; train one, or name another folder.")
    return explainer


def parts_of(explainer: InversionExplainer, steps: tuple[int, int], few: int) -> dict[str, Part]:
    """All steps, those until rest, a few after the prediction, and none."""
    whole = replace(explainer.settings, inversion_steps=steps[0], class_steps=steps[1], stop_when_converged=False)
    return {
        WHOLE: Part(whole, predicted=False),
        RESTING: Part(replace(whole, stop_when_converged=True), predicted=False),
        BEGUN: Part(replace(whole, inversion_steps=0, class_steps=few), predicted=True),
        ALONE: Part(replace(whole, inversion_steps=0, class_steps=0), predicted=True),
    }


def warm_runs(
    explainer: InversionExplainer, images: Tensor, batch: int, steps: tuple[int, int], few: int
) -> Mapping[str, Callable[[], InversionResult]]:
    """What explains the images, by the way to do so."""
    return {name: _run(explainer, part, images, batch) for name, part in parts_of(explainer, steps, few).items()}


def _run(explainer: InversionExplainer, part: Part, images: Tensor, batch: int) -> Callable[[], InversionResult]:
    def run() -> InversionResult:
        settings, predictor = explainer.settings, explainer.predictor
        explainer.settings, explainer.predictor = part.settings, predictor if part.predicted else None
        try:
            results = [explainer.explanation_and_result(rows)[1] for rows in torch.split(images, batch)]
        finally:
            explainer.settings, explainer.predictor = settings, predictor
        names = ("weights", "masks", "loss", "steps", "converged")
        return InversionResult(**{name: torch.cat([getattr(one, name) for one in results]) for name in names})

    return run
