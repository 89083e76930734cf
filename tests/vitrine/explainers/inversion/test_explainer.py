"""Masks of an explainer: as single runs, of several classes, behind glass, under autocast, and from a folder."""

import copy
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vitrine
from benchmarks.inversion import literal
from tests.helpers.token_networks import timm_vit, torchvision_vit
from vitrine.attribution.inversion import InversionSettings
from vitrine.attribution.inversion.objective import background_of
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.options import OptionError
from vitrine.explainers import InversionExplainer
from vitrine.explainers.inversion.explainer import InversionOptions

FEW: dict[str, Any] = {"variant": "paper", "inversion_steps": 3, "class_steps": 12, "image_size": 16}
Make = Callable[..., InversionExplainer]


@pytest.fixture
def pictures() -> Tensor:
    return torch.randn(3, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


SETTINGS = {field.name for field in fields(InversionSettings)}


def inversion_options(**flat: Any) -> InversionOptions:
    """Options by name, settings of the optimisation among them."""
    overrides = {name: flat.pop(name) for name in list(flat) if name in SETTINGS}
    return InversionOptions(overrides=overrides, **flat)


@pytest.fixture
def made(network: nn.Module) -> Make:
    """Of the three-class network in float64."""

    def make(double: bool = True, **options: Any) -> InversionExplainer:
        model = copy.deepcopy(network).double() if double else network
        explainer = InversionExplainer(FrozenBackbone(model), inversion_options(**FEW | options), ["ant", "bee", "cat"])
        return explainer.double() if double else explainer

    return make


def test_an_explanation(made: Make, pictures: Tensor) -> None:
    explainer = made(class_penalty=0.05)
    found = explainer.explain(pictures, [2, 0, 1])
    assert found.heatmaps.shape == (3, 1, 16, 16)
    assert found.labels == [["mask of cat"], ["mask of ant"], ["mask of bee"]]
    assert found.target.tolist() == [2, 0, 1]
    model = explainer.backbone.model
    torch.testing.assert_close(found.logits, model(pictures))
    assert found.prediction.tolist() == model(pictures).argmax(dim=1).tolist()
    shown = found.heatmaps * pictures + (1 - found.heatmaps) * background_of(pictures, "blur")
    told = model(shown).softmax(dim=1)[torch.arange(3), [2, 0, 1]]
    torch.testing.assert_close(found.scores[:, 0], told)
    torch.testing.assert_close(
        explainer.attribute(pictures, [2, 0, 1]).amax(dim=(1, 2, 3)).sign(), torch.ones(3).double()
    )


def test_its_masks_are_those_of_the_algorithms(made: Make, pictures: Tensor) -> None:
    explainer = made()
    background = background_of(pictures, "blur")
    found = explainer.explain(pictures)
    for row, target in enumerate(found.prediction.tolist()):
        part = slice(row, row + 1)
        layers = (explainer.layers.inversion, explainer.layers.mask[0])
        told = literal.paper(explainer.backbone.model, pictures[part], background[part], target, layers, (3, 12))
        torch.testing.assert_close(found.heatmaps[part], told.mask, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("hidden", [0, 8])
def test_a_batch_is_so_many_single_runs(hidden: int, made: Make, pictures: Tensor) -> None:
    explainer = made(predictor=hidden)
    whole, parts = explainer.explain(pictures, [2, 0, 1]), explainer.explain(pictures, [2, 0, 1], internal_batch_size=2)
    torch.testing.assert_close(parts.heatmaps, whole.heatmaps, rtol=1e-9, atol=1e-10)
    for row, target in enumerate([2, 0, 1]):
        alone = explainer.explain(pictures[row : row + 1], target)
        torch.testing.assert_close(alone.heatmaps[0], whole.heatmaps[row], rtol=1e-9, atol=1e-10)


def test_several_classes_of_an_image_go_through_the_backbone_together(made: Make, pictures: Tensor) -> None:
    explainer, classes = made(), torch.tensor([[0, 1, 2], [2, 1, 0], [1, 1, 2]])
    batches: list[int] = []
    handle = explainer.backbone.model.register_forward_pre_hook(lambda _m, inputs: batches.append(len(inputs[0])))
    found = explainer.masks(pictures, classes)
    handle.remove()
    assert batches == [9] + [9] * 3 + [18] * 12 + [9]  # reading, both stages, and the probabilities of what is shown
    assert found.shape == (3, 3, 16, 16)
    for column in range(3):
        told = explainer.explain(pictures, classes[:, column]).heatmaps[:, 0]
        torch.testing.assert_close(found[:, column], told, rtol=1e-9, atol=1e-10)


def state_of(model: nn.Module) -> list[Any]:
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    grads = [(parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    return [hooks, grads, [module.training for module in model.modules()]]


@pytest.mark.parametrize("hidden", [0, 8])
@pytest.mark.parametrize("target", [1, 3])
def test_the_backbone_is_as_it_was(hidden: int, target: int, made: Make, pictures: Tensor) -> None:
    explainer = made(predictor=hidden, background="noise")
    model, given = explainer.backbone.model, pictures.clone()
    before, weights, random = state_of(model), copy.deepcopy(model.state_dict()), torch.get_rng_state()
    if target == 3:
        with pytest.raises(ValueError, match="target 3 is outside the classes 0 to 2"):
            explainer.explain(pictures, target)
    else:
        explainer.explain(pictures, target)
    assert state_of(model) == before
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(pictures, given)
    assert all(parameter.grad is None for parameter in explainer.parameters())


@pytest.mark.parametrize("hidden", [0, 8])
def test_in_inference_mode(hidden: int, made: Make, pictures: Tensor) -> None:
    explainer = made(predictor=hidden)
    told = explainer.explain(pictures, [2, 0, 1])
    with torch.inference_mode():
        found = explainer.explain(pictures.clone(), torch.tensor([2, 0, 1]))
    torch.testing.assert_close(found.heatmaps, told.heatmaps)


@pytest.mark.parametrize("hidden", [0, 8])
@pytest.mark.parametrize("variant", ["paper", "released"])
def test_under_autocast_masks_are_float32(hidden: int, variant: str, made: Make, pictures: Tensor) -> None:
    explainer = made(double=False, predictor=hidden, variant=variant)
    full = explainer.explain(pictures.float(), 1)
    with torch.autocast("cpu", torch.bfloat16):
        found = explainer.explain(pictures.float(), 1)
    assert found.heatmaps.dtype == found.scores.dtype == torch.float32
    assert bool(found.heatmaps.isfinite().all())
    assert float((found.heatmaps - full.heatmaps).abs().mean()) < 0.1


@pytest.mark.parametrize("hidden", [0, 8])
def test_from_a_folder(hidden: int, made: Make, network: nn.Module, pictures: Tensor, tmp_path: Path) -> None:
    torch.manual_seed(0)
    explainer = made(
        double=False, predictor=hidden, variant="released", class_penalty=0.5, background="noise", seed=4,
        mask_layers=["features.1", "features.3"], score="logit", stop_when_converged=True, tolerance=1e-2,
    )  # fmt: skip
    for parameter in explainer.parameters():
        nn.init.normal_(parameter, std=0.5)
    explainer.save(tmp_path / "explainer")
    loaded = vitrine.load(tmp_path / "explainer", backbone=network)
    assert isinstance(loaded, InversionExplainer)
    assert loaded.options == explainer.options
    assert loaded.settings == explainer.settings
    images = pictures.float()
    assert torch.equal(loaded.explain(images).heatmaps, explainer.explain(images).heatmaps)


def test_a_predictor_of_another_size_does_not_load(made: Make) -> None:
    with pytest.raises(ValueError, match="do not fit this InversionExplainer"):
        made(predictor=8).load_head_state(made(predictor=4).head_state())


def test_a_predictor_without_steps_is_the_answer(made: Make, pictures: Tensor) -> None:
    explainer = made(predictor=8, inversion_steps=0, class_steps=0)
    objective, reading, start = explainer.problem(pictures)
    torch.testing.assert_close(start.detach(), torch.full((3, 8), 0.1, dtype=torch.float64), rtol=1e-5, atol=0)
    torch.testing.assert_close(explainer.explain(pictures).heatmaps, objective.masks(start).detach())
    assert start.requires_grad
    assert reading.evidence is not None


def test_words_that_are_unknown(made: Make) -> None:
    for options, told in (
        ({"variant": "other"}, "variant is 'other'; give"),
        ({"inversion_layer": "nothing"}, "no layer 'nothing'"),
        ({"mask_layers": ["nothing"]}, "no layer 'nothing'"),
        ({"background": "sea"}, "background is 'sea'; give"),
    ):
        with pytest.raises(ValueError, match=told):
            made(**options)


def of_vit(model: nn.Module, **options: Any) -> InversionExplainer:
    few = {"inversion_steps": 1, "class_steps": 2}
    return InversionExplainer(FrozenBackbone(model), inversion_options(**few | options))


@pytest.mark.parametrize("model", [timm_vit(), torchvision_vit()])
def test_an_image_size_that_the_backbone_does_not_take(model: nn.Module) -> None:
    with pytest.raises(OptionError, match=r"image_size is 224; give 32, which works"):
        of_vit(model)
    explainer = of_vit(model, image_size=32)
    with pytest.raises(OptionError, match=r"image_size is 48; give 32, which works"):
        explainer.check_size(48)


def test_any_size_of_a_backbone_that_interpolates_its_positions() -> None:
    explainer = of_vit(timm_vit(dynamic_img_size=True), image_size=48)
    explainer.check_size(64)
    assert explainer.explain(torch.randn(1, 3, 64, 64)).heatmaps.shape == (1, 1, 64, 64)


def test_images_too_small_for_a_map() -> None:
    strided = nn.Sequential(nn.Conv2d(3, 4, 16, stride=16), nn.ReLU(), nn.Conv2d(4, 4, 1), Mean()).eval()
    with pytest.raises(OptionError, match=r"image_size is 16; give 32, which works"):
        of_vit(strided, image_size=16)
    explainer = of_vit(strided, image_size=64)
    with pytest.raises(OptionError, match=r"image_size is 16; give 64, for which the layers were found"):
        explainer.check_size(16)


class Mean(nn.Module):
    """Of all places."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean((2, 3))


def test_a_predictor_sees_the_channels_of_tokens() -> None:
    explainer = of_vit(timm_vit(), image_size=32, predictor=4)
    images = torch.randn(2, 3, 32, 32)
    objective, reading, start = explainer.problem(images)
    assert start.shape == (2, reading.maps.channels) == (2, 24)
    objective.class_loss(start).sum().backward()
    assert explainer.predictor is not None
    assert all(value.grad is not None and value.grad.any() for value in list(explainer.predictor.parameters())[-2:])


class RoundedGate(nn.Module):
    """A rectifier that guided backprop has no rule for."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (x > 0)


def test_maps_that_a_network_does_not_give() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), RoundedGate(), nn.Conv2d(4, 4, 3), Mean()).eval()
    with pytest.raises(OptionError, match=r"overrides.maps is 'guided'; give 'gradient', which works"):
        of_vit(model, image_size=16, maps="guided", mask_layers=["0"])
    assert (
        of_vit(model, image_size=16, maps="gradient", mask_layers=["0"])
        .explain(torch.randn(1, 3, 16, 16))
        .heatmaps.any()
    )
