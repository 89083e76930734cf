"""Attribution methods as the benchmark calls them, each with the library call that gives the same."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmarks import library_calls as libraries
from benchmarks.library_calls import TARGET, Run
from vitrine.attribution import (
    CAM,
    LRP,
    RISE,
    Deconvnet,
    ExcitationBackprop,
    ExtremalPerturbation,
    GradCAM,
    GradCAMPlusPlus,
    GuidedBackprop,
    GuidedGradCAM,
    IntegratedGradients,
    LayerCAM,
    MeaningfulPerturbation,
    Method,
    Occlusion,
    Saliency,
    ScoreCAM,
    SmoothGrad,
    UpsampledActivation,
)

Make = Callable[[nn.Module, str], Method]


class Case(NamedTuple):
    """A method, the library call that gives the same, and whether a call takes so long that batch 1 must do."""

    make: Make
    by_library: Callable[[nn.Module, str, Tensor], Run] | None = None
    slow: bool = False
    channel: bool = False


CASES: Mapping[str, Case] = {
    "Saliency": Case(lambda m, _: Saliency(m), libraries.saliency),
    "Deconvnet": Case(lambda m, _: Deconvnet(m), libraries.deconvnet),
    "GuidedBackprop": Case(lambda m, _: GuidedBackprop(m), libraries.guided_backprop),
    "GuidedBackprop, stride one": Case(lambda m, _: GuidedBackprop(m, stride_one=True)),
    "ExcitationBackprop": Case(lambda m, _: ExcitationBackprop(m), libraries.excitation_backprop),
    "ExcitationBackprop, contrastive": Case(lambda m, _: ExcitationBackprop(m, contrastive=True)),
    "LRP, epsilon": Case(lambda m, _: LRP(m)),
    "LRP, epsilon_plus": Case(lambda m, _: LRP(m, composite="epsilon_plus")),
    "LRP, attn": Case(lambda m, _: LRP(m, composite="attn")),
    "LRP, attn, constant attention": Case(
        lambda m, _: LRP(m, composite="attn", attention="constant"), libraries.lxt_relevance
    ),
    "UpsampledActivation": Case(UpsampledActivation, channel=True),
    "CAM": Case(lambda m, _: CAM(m)),
    "GradCAM": Case(GradCAM, libraries.grad_cam),
    "GradCAM (pytorch-grad-cam)": Case(GradCAM, libraries.grad_cam_of("GradCAM")),
    "GradCAMPlusPlus": Case(GradCAMPlusPlus, libraries.grad_cam_of("GradCAMPlusPlus")),
    "LayerCAM": Case(LayerCAM, libraries.grad_cam_of("LayerCAM")),
    "GuidedGradCAM": Case(GuidedGradCAM, libraries.guided_grad_cam),
    "SmoothGrad, 10 samples": Case(lambda m, _: SmoothGrad(m, n_samples=10), libraries.smooth_grad, slow=True),
    "IntegratedGradients, 10 steps": Case(
        lambda m, _: IntegratedGradients(m, steps=10), libraries.integrated_gradients, slow=True
    ),
    "Occlusion, 56 px": Case(lambda m, _: Occlusion(m, window=56, stride=56), libraries.occlusion, slow=True),
    "ScoreCAM": Case(ScoreCAM, libraries.grad_cam_of("ScoreCAM"), slow=True),
    "RISE, 100 masks": Case(lambda m, _: RISE(m, n_samples=100, internal_batch_size=16), slow=True),
    "MeaningfulPerturbation, 10 iterations": Case(lambda m, _: MeaningfulPerturbation(m, iterations=10), slow=True),
    "ExtremalPerturbation, 10 iterations": Case(lambda m, _: ExtremalPerturbation(m, iterations=10), slow=True),
}

FILTER_METHODS: Mapping[str, type[Method]] = {
    "Saliency": Saliency,
    "GuidedBackprop": GuidedBackprop,
    "ExcitationBackprop": ExcitationBackprop,
}

CHEAP: Mapping[str, Make] = {
    "Saliency": lambda m, _: Saliency(m),
    "Deconvnet": lambda m, _: Deconvnet(m),
    "GuidedBackprop": lambda m, _: GuidedBackprop(m),
    "CAM": lambda m, _: CAM(m),
    "GradCAM": GradCAM,
    "GradCAMPlusPlus": GradCAMPlusPlus,
    "LayerCAM": LayerCAM,
    "GuidedGradCAM": GuidedGradCAM,
}
"""Methods that can share one forward pass."""


def plain_gradient(model: nn.Module, images: Tensor) -> Run:
    """The gradient of a logit at the pixels of a model whose parameters ask for none: what a method cannot do without."""

    def run() -> Tensor:
        pixels = images.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(pixels)[:, TARGET].sum(), pixels)
        return gradient

    return run
