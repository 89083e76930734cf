"""The same attributions by the libraries' own calls, to be timed beside ours."""

import sys
import types
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import captum.attr
import pytorch_grad_cam
import torch
import torch.nn.functional as F
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from zennit.composites import ExcitationBackprop

Run = Callable[[], object]
TARGET = 3


def saliency(model: nn.Module, layer: str, images: Tensor) -> Run:  # noqa: ARG001
    """Captum's Saliency."""
    method = captum.attr.Saliency(model)
    return lambda: method.attribute(images.clone(), target=TARGET)


def deconvnet(model: nn.Module, layer: str, images: Tensor) -> Run:  # noqa: ARG001
    """Captum's Deconvolution."""
    method = captum.attr.Deconvolution(model)
    return lambda: method.attribute(images.clone(), target=TARGET)


def guided_backprop(model: nn.Module, layer: str, images: Tensor) -> Run:  # noqa: ARG001
    """Captum's GuidedBackprop."""
    method = captum.attr.GuidedBackprop(model)
    return lambda: method.attribute(images.clone(), target=TARGET)


def guided_grad_cam(model: nn.Module, layer: str, images: Tensor) -> Run:
    """Captum's GuidedGradCam, bilinear."""
    method = captum.attr.GuidedGradCam(model, model.get_submodule(layer))
    return lambda: method.attribute(images.clone(), target=TARGET, interpolate_mode="bilinear")


def grad_cam(model: nn.Module, layer: str, images: Tensor) -> Run:
    """Captum's LayerGradCam, upsampled."""
    method = captum.attr.LayerGradCam(model, model.get_submodule(layer))

    def run() -> Tensor:
        coarse = method.attribute(images.clone().requires_grad_(), target=TARGET, relu_attributions=True)
        return F.interpolate(coarse, size=images.shape[2:], mode="bilinear")

    return run


def grad_cam_of(name: str) -> Callable[[nn.Module, str, Tensor], Run]:
    """A class of pytorch-grad-cam, by its name."""

    def prepare(model: nn.Module, layer: str, images: Tensor) -> Run:
        method: Any = getattr(pytorch_grad_cam, name)(model, [model.get_submodule(layer)])
        if name == "ScoreCAM":
            method.batch_size = 32
        targets = [ClassifierOutputTarget(TARGET)] * len(images)
        return lambda: method(input_tensor=images.clone().requires_grad_(), targets=targets)

    return prepare


def integrated_gradients(model: nn.Module, layer: str, images: Tensor) -> Run:  # noqa: ARG001
    """Captum's IntegratedGradients, 10 steps."""
    method = captum.attr.IntegratedGradients(model)
    return lambda: method.attribute(images.clone(), target=TARGET, n_steps=10)


def smooth_grad(model: nn.Module, layer: str, images: Tensor) -> Run:  # noqa: ARG001
    """Captum's NoiseTunnel over Saliency, 10 samples in one forward pass."""
    method = captum.attr.NoiseTunnel(captum.attr.Saliency(model))
    return lambda: method.attribute(images.clone(), nt_type="smoothgrad", nt_samples=10, stdevs=0.5, target=TARGET)


def occlusion(model: nn.Module, layer: str, images: Tensor) -> Run:  # noqa: ARG001
    """Captum's Occlusion, windows of 56 × 56 pixels, 16 in a forward pass."""
    method = captum.attr.Occlusion(model)
    windows: dict[str, Any] = {"sliding_window_shapes": (3, 56, 56), "strides": (3, 56, 56)}

    def run() -> Tensor:
        with torch.no_grad():
            maps: Tensor = method.attribute(images.clone(), target=TARGET, perturbations_per_eval=16, **windows)
        return maps

    return run


def excitation_backprop(model: nn.Module, layer: str, images: Tensor) -> Run:  # noqa: ARG001
    """Zennit's ExcitationBackprop without biases; its residual sums pass gradients, so it is not the same on ResNets."""
    composite = ExcitationBackprop(zero_params=["bias"])

    def run() -> Tensor:
        pixels = images.clone().requires_grad_()
        with composite.context(model) as modified:
            (mass,) = torch.autograd.grad(modified(pixels)[:, TARGET].sum(), pixels)
        return mass

    return run


def lxt_relevance(model: nn.Module, layer: str, images: Tensor) -> Run:  # noqa: ARG001
    """Gradient × input under lxt's rules of torchvision's vision transformers, which hold attention weights constant."""

    def run() -> Tensor:
        with _lxt_rules():
            pixels = images.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(model(pixels)[:, TARGET].sum(), pixels)
        return gradient * images

    return run


@contextmanager
def _lxt_rules() -> Iterator[None]:
    # lxt's own models need an earlier transformers; its rules do without them.
    models = types.ModuleType("lxt.efficient.models")
    models.get_default_map = lambda _: {}  # type: ignore[attr-defined]
    with patch.dict(sys.modules, {"lxt.efficient.models": models}), ExitStack() as stack:
        from lxt.efficient import patches  # noqa: PLC0415 - needs the stand-in

        for kind, forward in (
            (nn.GELU, patches.non_linear_forward),
            (nn.LayerNorm, patches.layer_norm_forward),
            (nn.MultiheadAttention, patches.cp_multi_head_attention_forward),
        ):
            stack.enter_context(patch.object(kind, "original_forward", kind.forward, create=True))
            stack.enter_context(patch.object(kind, "forward", forward))
        yield
