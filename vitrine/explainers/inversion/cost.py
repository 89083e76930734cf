"""The cost of inversion masks before they are optimised, from a measured step of each stage."""

import time
from dataclasses import replace
from datetime import timedelta

import torch
from torch import Tensor

from vitrine.attribution.inversion import make_problem, optimise
from vitrine.backbones.guard import eval_guard
from vitrine.explainers.inversion.explainer import InversionExplainer

STAGES = ("inversion_steps", "class_steps")


def seconds_per_mask(explainer: InversionExplainer, images: Tensor) -> float:
    """Seconds that the steps of one mask take on the images' device, when as many are optimised at once.

    Two steps of each stage are made for it, of which the first finds what can be reused and does not count.

    Args:
        explainer: whose settings say how many steps there are.
        images: (B, 3, H, W), at least one.
    """
    settings, total = explainer.settings, 0.0
    with eval_guard(explainer.backbone.model), torch.inference_mode(mode=False), torch.no_grad():
        for stage in STAGES:
            steps = getattr(settings, stage)
            if steps:
                one = replace(settings, **{name: int(name == stage) for name in STAGES})
                problem = make_problem(explainer.network, one, images)
                ends = [_end(problem.objective, problem.start) for _ in range(3)]
                total += steps * (ends[2] - ends[1])
    return total / len(images)


def _end(*problem: object) -> float:
    """The time after one step, and after what a device has queued."""
    optimise(*problem).loss.cpu()  # type: ignore[arg-type]
    return time.perf_counter()


def forecast(explainer: InversionExplainer, images: Tensor, masks: int) -> str:
    """A sentence on what so many masks take on this device; `seconds_per_mask` has the other arguments."""
    settings, seconds = explainer.settings, seconds_per_mask(explainer, images)
    steps = settings.inversion_steps + settings.class_steps
    whole = timedelta(seconds=round(seconds * masks))
    return (
        f"{steps} steps a mask take about {seconds:.2g} s on {images.device.type}: {whole} for {masks} masks."
        " Variant smooth, or a predictor without steps, takes two passes a mask."
    )
