"""Gradients of float16 networks, against the same weights in float32."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitrine.attribution import (
    ExtremalPerturbation,
    GradCAM,
    GradCAMPlusPlus,
    GuidedBackprop,
    IntegratedGradients,
    InversionMask,
    LayerCAM,
    MeaningfulPerturbation,
    Saliency,
    SmoothGrad,
)
from vitrine.attribution.autograd.loss_scaling import descaled, has_float16, scaled_gradients
from vitrine.attribution.gradient.deconvnet import Deconvnet

METHODS: dict[str, Callable[[nn.Module], Any]] = {
    "Saliency": lambda model: Saliency(model, absolute=False),
    "SmoothGrad": lambda model: SmoothGrad(model, n_samples=3, noise=0.01),
    "SmoothGrad squared": lambda model: SmoothGrad(model, n_samples=3, noise=0.01, squared=True),
    "IntegratedGradients": lambda model: IntegratedGradients(model, steps=3),
    "GuidedBackprop": GuidedBackprop,
    "Deconvnet": Deconvnet,
    "GradCAM": lambda model: GradCAM(model, "0", relu=False),
    "GradCAM++": lambda model: GradCAMPlusPlus(model, "1"),
    "LayerCAM": lambda model: LayerCAM(model, "1"),
}


def network() -> nn.Sequential:
    """Smooth, so that rounding changes no sign of a slope; its weights are numbers of float16."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.GELU(), nn.Conv2d(8, 8, 3, padding=1), nn.GELU()
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)).eval()
    model[6].get_parameter("weight").data.mul_(0.01)
    return model.half().float()


class Widened(nn.Module):
    """A network in float16 within one that takes and gives float32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x.half()).float()


def images(size: int = 128) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0)).half().float()


def error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


@pytest.mark.parametrize("name", METHODS)
def test_float16_is_as_right_as_it_is_fine(name: str) -> None:
    model = network()
    expected = METHODS[name](model).attribute(images(), target=1)
    actual = METHODS[name](copy.deepcopy(model).half()).attribute(images().half(), target=1)
    assert actual.dtype == torch.float32
    assert error(actual, expected) < 0.01
    one = METHODS[name](copy.deepcopy(model).half()).attribute(images()[1:].half(), target=1)
    assert error(one, actual[1:]) < 1e-3


@pytest.mark.parametrize("name", ["Saliency", "IntegratedGradients", "GuidedBackprop"])
def test_so_it_is_under_autocast_and_behind_casts(name: str) -> None:
    model = network()
    expected = METHODS[name](model).attribute(images(), target=1)
    with torch.autocast("cpu", torch.float16):
        autocast = METHODS[name](model).attribute(images(), target=1)
    behind = METHODS[name](Widened(copy.deepcopy(model).half())).attribute(images(), target=1)
    assert error(autocast, expected) < 0.01
    assert error(behind, expected) < 0.01


def test_of_a_channel_whose_cotangent_overflows_when_it_is_scaled() -> None:
    model = network()
    model[2].get_parameter("weight").data.mul_(200)
    model = model.half().float()
    expected = Deconvnet(model, "2").attribute(images(32), channel=3)
    actual = Deconvnet(model.half(), "2").attribute(images(32).half(), channel=3)
    assert error(actual, expected) < 0.01


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("method", [Saliency, SmoothGrad, IntegratedGradients, GuidedBackprop, Deconvnet])
def test_maps_are_in_float32(method: Callable[[nn.Module], Any], dtype: torch.dtype) -> None:
    model = network()
    expected = method(model).attribute(images(8), target=1)
    actual = method(model.to(dtype)).attribute(images(8).to(dtype), target=1)
    assert actual.dtype == torch.float32
    assert error(actual, expected) < (0.01 if dtype == torch.float16 else 0.1)


MASKS: dict[str, Callable[[nn.Module], Any]] = {
    "extremal": lambda model: ExtremalPerturbation(model, iterations=4, step=16, sigma=16.0, area_weight=0.01),
    "meaningful": lambda model: MeaningfulPerturbation(
        model, iterations=4, grid=6, blur=4.0, l1=0, tv=0, centred_start=False
    ),
    "inversion": lambda model: InversionMask(model, "3", inversion_steps=0, class_steps=4, class_penalty=0.0),
    "inversion, guided": lambda model: InversionMask(model, "3", variant="fine", class_steps=2),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_are_learned_from_float16_networks(name: str) -> None:
    model = network()
    model[3], model[1] = nn.ReLU(), nn.ReLU()
    expected = MASKS[name](model).attribute(images(64), target=1)
    actual = MASKS[name](copy.deepcopy(model).half()).attribute(images(64).half(), target=1)
    assert error(actual - actual.mean(), expected - expected.mean()) < 0.1


def test_descaled_takes_each_element_by_the_largest_scale_that_fits() -> None:
    true = torch.tensor([1e-7, 3.0, 5e4, torch.inf])
    scales: list[float] = []

    def gradients(scale: float) -> list[Tensor | None]:
        scales.append(scale)
        return [(true.double() * scale).half(), None]

    found, none = descaled(gradients)
    assert none is None
    torch.testing.assert_close(found, true, rtol=1e-3, atol=0)
    assert scales == [2.0**e for e in (12, 8, 4, 0, -4, -8, -12)]


def test_float32_is_left_to_autograd() -> None:
    leaf = torch.ones(2, requires_grad=True)
    output = leaf * 1e30
    assert not has_float16(output)
    assert has_float16(leaf.half().float())
    (gradient,) = scaled_gradients([output], [leaf], [torch.full((2,), 1e8)])
    assert gradient.isfinite().all()
    (double,) = scaled_gradients([leaf.double() * 3], [leaf], [torch.ones(2, dtype=torch.float64)])
    assert double.tolist() == [3, 3]
