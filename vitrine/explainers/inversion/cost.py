"""The cost of inversion masks before they are optimised, from a measured step of each stage."""

import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from vitrine.attribution.inversion import make_problem, optimise
from vitrine.backbones.guard import eval_guard
from vitrine.explainers.inversion.explainer import InversionExplainer

STAGES = ("inversion_steps", "class_steps")


def seconds_per_mask(explainer: InversionExplainer, images: Tensor) -> float:
    """Seconds that the steps of one mask take on the images' device, when as many are optimised at once.

    A step is what three of its stage take more than one, after another one that does not count.

    Args:
        explainer: whose settings say how many steps there are.
        images: (B, 3, H, W), at least one.
    """
    total = 0.0
    with eval_guard(explainer.backbone.model), torch.inference_mode(mode=False), torch.no_grad():
        for stage in STAGES:
            steps = getattr(explainer.settings, stage)
            if steps:
                _, one, three = (_seconds(explainer, stage, images, count) for count in (1, 1, 3))
                total += steps * max(three - one, 0.0) / 2
    return total / len(images)


def _seconds(explainer: InversionExplainer, stage: str, images: Tensor, count: int) -> float:
    """Of so many steps of a stage, and of what is made for them."""
    steps: dict[str, Any] = {name: count if name == stage else 0 for name in STAGES}
    few = replace(explainer.settings, **steps)
    problem = make_problem(explainer.network, few, images)
    began = time.perf_counter()
    optimise(problem.objective, problem.start).loss.cpu()  # after what a device has queued
    return time.perf_counter() - began


def forecast(explainer: InversionExplainer, images: Tensor, masks: int) -> str:
    """A sentence on what so many masks take on this device; `seconds_per_mask` has the other arguments."""
    settings, seconds = explainer.settings, seconds_per_mask(explainer, images)
    steps = settings.inversion_steps + settings.class_steps
    whole = timedelta(seconds=round(seconds * masks))
    return (
        f"{steps} steps a mask take about {seconds:.2g} s on {images.device.type}: {whole} for {masks} masks."
        " Variant smooth, or a predictor without steps, takes two passes a mask."
    )
