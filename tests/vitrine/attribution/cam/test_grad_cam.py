"""Gradient-weighted maps against Captum, pytorch-grad-cam and closed forms."""

import copy
from typing import Any

import captum.attr
import pytest
import pytorch_grad_cam
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from tests.helpers.cam_models import LAYERS, Counting, bilinear, close, images, network, small, targets_of
from vitrine.attribution.base import Method
from vitrine.attribution.cam.cam import CAM
from vitrine.attribution.cam.class_activation import ClassActivation
from vitrine.attribution.cam.grad_cam import GradCAM, GradCAMPlusPlus, GuidedGradCAM, GuidedGradCAMPlusPlus, LayerCAM
from vitrine.attribution.cam.score_cam import ScoreCAM
from vitrine.attribution.gradient.deconvnet import GuidedBackprop
from vitrine.backbones.batch_mixing import mixes_batch


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", LAYERS)
def test_grad_cam_is_captums(name: str) -> None:
    model, x = network(name), torch.rand(2, 3, 96, 80, dtype=torch.float64)
    target = targets_of(model, x)
    layer = model.get_submodule(LAYERS[name])
    theirs = captum.attr.LayerGradCam(copy.deepcopy(model), None)
    theirs.layer = theirs.forward_func.get_submodule(LAYERS[name])
    coarse = theirs.attribute(x, target=target, relu_attributions=True)
    assert isinstance(coarse, Tensor)
    expected = bilinear(coarse, x)
    close(GradCAM(model, layer, alignment="image").attribute(x, target), expected, to=1e-5)
    close(GradCAM(model, alignment="image").attribute(x), expected, to=1e-5)
    signed = GradCAM(model, relu=False, alignment="image").attribute(x, target)
    close(signed, bilinear(theirs.attribute(x, target=target), x), to=1e-5)


OTHERS = {
    GradCAM: pytorch_grad_cam.GradCAM,
    GradCAMPlusPlus: pytorch_grad_cam.GradCAMPlusPlus,
    LayerCAM: pytorch_grad_cam.LayerCAM,
    ScoreCAM: pytorch_grad_cam.ScoreCAM,
}


def coarse_of_others(method: type[Any], model: nn.Module, layer: str, x: Tensor, target: Tensor) -> Tensor:
    """What pytorch-grad-cam has before it scales and resizes."""
    model = copy.deepcopy(model)
    saved = []
    with method(model, [model.get_submodule(layer)]) as theirs:
        original = theirs.get_cam_image

        def keeping(*arguments: Any) -> Any:
            saved.append(original(*arguments))
            return saved[-1]

        theirs.get_cam_image = keeping
        theirs(x, [ClassifierOutputTarget(int(t)) for t in target])
    return torch.as_tensor(saved[0])[:, None].clamp(min=0)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("method", [GradCAM, GradCAMPlusPlus, LayerCAM])
def test_gradient_weighted_maps_are_pytorch_grad_cams(method: type[ClassActivation], name: str) -> None:
    model, x = network(name), torch.rand(2, 3, 96, 80, dtype=torch.float64)
    last = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1]
    last.weight.data *= 1e4  # theirs adds 1e-6 to denominators of g²; ours needs no ε
    target = targets_of(model, x)
    expected = bilinear(coarse_of_others(OTHERS[method], model, LAYERS[name], x, target), x)
    close(method(model, alignment="image").attribute(x, target), expected, to=1e-5)


def test_score_cam_is_pytorch_grad_cams(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_aligned_corners(size: tuple[int, int]) -> nn.Module:
        return nn.Upsample(size=size, mode="bilinear", align_corners=False)

    monkeypatch.setattr(torch.nn, "UpsamplingBilinear2d", without_aligned_corners)
    model, x = small().eval(), images()
    model[8].get_parameter("weight").data *= 30  # scores that differ
    target = targets_of(model, x)
    expected = bilinear(coarse_of_others(OTHERS[ScoreCAM], model, "5", x, target), x)
    close(ScoreCAM(model, "5", alignment="image").attribute(x, target), expected, to=1e-5)


def test_several_classes_cost_one_forward_pass() -> None:
    model, x = Counting(), images(3)
    mixes_batch(model, x)  # found once for each model, by passes of its own
    model.seen.clear()
    for method in (GradCAM, GradCAMPlusPlus, LayerCAM):
        method(model, "network.5").attribute(x, torch.arange(5).expand(3, 5))
    CAM(model).attribute(x, torch.arange(5).expand(3, 5))
    assert model.seen == [3, 1, 3, 3, 3, 1]  # and of one input once for each map, to find where its cells look


def test_closed_forms_of_one_cell_and_one_channel() -> None:
    """A logit w·(a + b) + …: gradients are known, and so are all maps."""
    model = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(4, 2, bias=False)).double()
    model[2].weight.data = torch.tensor([[2.0, -1, 0, 3], [1, 1, 1, 1]])
    model.double()
    x = torch.tensor([[[[1.0, 2], [3, 4]]]], dtype=torch.float64)

    def map_of(method: type[Method]) -> list[list[float]]:
        actual: list[list[float]] = method(model, "0").attribute(x, 0)[0, 0].tolist()
        return actual

    assert map_of(GradCAM) == [[1, 2], [3, 4]]  # mean gradient 1
    assert map_of(LayerCAM) == [[2, 0], [0, 12]]
    weight = 2 / (2 + 2 * 10) + 3 / (2 + 3 * 10)
    close(torch.tensor(map_of(GradCAMPlusPlus)), torch.tensor([[1.0, 2], [3, 4]]) * weight, to=1e-6)


@pytest.mark.parametrize(("method", "base"), [(GuidedGradCAM, GradCAM), (GuidedGradCAMPlusPlus, GradCAMPlusPlus)])
def test_guided_maps_are_products(method: type[ClassActivation], base: type[ClassActivation]) -> None:
    model, x = small(), images()
    targets = torch.tensor([[0, 4], [2, 2]])
    expected = GuidedBackprop(model).attribute(x, targets) * base(model, "5").attribute(x, targets)
    assert expected.shape == (2, 2, 3, 12, 9)
    close(method(model, "5").attribute(x, targets), expected)
    close(method(model).attribute(x, targets), method(model, "5").attribute(x, targets))


@pytest.mark.parametrize("name", ["resnet18", "vgg11_bn"])
def test_guided_grad_cam_is_captums(name: str) -> None:
    model, x = network(name), torch.rand(2, 3, 64, 64, dtype=torch.float64)
    target = targets_of(model, x)
    theirs = copy.deepcopy(model)
    method = captum.attr.GuidedGradCam(theirs, theirs.get_submodule(LAYERS[name]))
    expected = method.attribute(x.clone().requires_grad_(), target=target, interpolate_mode="bilinear")
    assert isinstance(expected, Tensor)
    close(GuidedGradCAM(model, alignment="image").attribute(x), expected.detach(), to=1e-5)
