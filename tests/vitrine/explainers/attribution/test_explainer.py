"""Attribution methods as explainers: their maps, scores, options, and what they refuse."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vitrine
from vitrine.attribution import GradCAM, IntegratedGradients, Saliency
from vitrine.attribution.registry import all_methods
from vitrine.backbones import FrozenBackbone
from vitrine.core.image_ops import gaussian_blur
from vitrine.core.options import OptionError
from vitrine.explainers.attribution import AttributionExplainer, AttributionOptions
from vitrine.explainers.attribution.explainer import SMALLEST_SCORE


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)]
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def explainer_of(network: nn.Module, method: str, **options: Any) -> AttributionExplainer:
    return AttributionExplainer(FrozenBackbone(network), AttributionOptions(method, **options))


def test_maps_are_those_of_the_method(network: nn.Module, images: Tensor) -> None:
    found = explainer_of(network, "GradCAM", arguments={"layer": "1", "relu": False}).explain(
        images, torch.tensor([1, 0, 3])
    )
    torch.testing.assert_close(
        found.heatmaps, GradCAM(network, "1", relu=False).attribute(images, torch.tensor([1, 0, 3]))
    )
    assert found.target.tolist() == [1, 0, 3]
    torch.testing.assert_close(found.scores[:, 0], network(images).softmax(1)[torch.arange(3), found.target].detach())
    assert torch.equal(explainer_of(network, "GradCAM").explain(images).target, network(images).argmax(1))


@pytest.mark.parametrize(
    ("method", "reduction"),
    [("Saliency", "method"), ("Saliency", "sum"), ("IntegratedGradients", "method"), ("IntegratedGradients", "positive_sum"),
     ("IntegratedGradients", "max_abs")],
)  # fmt: skip
def test_colours_become_one_channel(method: str, reduction: Any, network: nn.Module, images: Tensor) -> None:
    raw = {"Saliency": Saliency, "IntegratedGradients": IntegratedGradients}[method](network).attribute(images, 2)
    summed, largest = raw.sum(1, keepdim=True), raw.abs().amax(1, keepdim=True)
    own = largest if method == "Saliency" else summed
    expected = {"method": own, "sum": summed, "positive_sum": summed.clamp(min=0), "max_abs": largest}[reduction]
    torch.testing.assert_close(explainer_of(network, method, reduction=reduction).explain(images, 2).heatmaps, expected)


def test_a_class_that_the_network_rules_out_has_a_map(network: nn.Module, images: Tensor) -> None:
    explainer = explainer_of(network, "Saliency")
    logits = torch.tensor([[500.0, 0, 0, 0]]).expand(3, -1)
    found = explainer.explanation_of_logits(images, logits, 1)
    assert found.scores.tolist() == [[pytest.approx(SMALLEST_SCORE)]] * 3
    assert bool((found.aggregate().amax(dim=(1, 2, 3)) > 0).all())


def test_maps_are_blurred_but_for_constant_ones(network: nn.Module, images: Tensor) -> None:
    sharp = explainer_of(network, "Saliency").explain(images, 0).heatmaps
    blurred = explainer_of(network, "Saliency", sigma=1.5).explain(images, 0).heatmaps
    torch.testing.assert_close(blurred, gaussian_blur(sharp, 1.5))
    constant = explainer_of(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), "Saliency", sigma=1.5)
    constant.backbone.model.get_parameter("1.weight").data.fill_(0.5)
    found = constant.explain(torch.rand(1, 3, 4, 4), 0).heatmaps
    assert torch.equal(found, torch.full_like(found, 0.5))


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"method": "GradCam"}, "method is 'GradCam'; give .*GradCAM"),
        ({"method": "UpsampledActivation"}, "method is 'UpsampledActivation'"),
        ({"method": "RISE", "arguments": {"samples": 3}}, r"arguments\.samples is 3; give .*n_samples"),
        ({"sigma": -1.0}, "sigma is -1"),
        ({"reduction": "mean"}, "reduction is 'mean'"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], key: str) -> None:
    with pytest.raises(OptionError, match=key):
        AttributionOptions(**options)


def test_values_that_a_method_refuses_are_named(network: nn.Module) -> None:
    with pytest.raises(OptionError, match=r"arguments\.n_samples is 0"):
        explainer_of(network, "RISE", arguments={"n_samples": 0})


def test_a_method_that_does_not_work_on_the_network_is_refused_before_images_are_read(network: nn.Module) -> None:
    with pytest.raises(ValueError, match="AttentionRollout"):
        explainer_of(network, "AttentionRollout").check_drawable()


def test_a_slow_method_is_tried_with_few_steps(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    explainer, seen = explainer_of(network, "RISE"), []
    kind, init = type(explainer.method), type(explainer.method).__init__

    def noted(self: Any, *args: Any, **options: Any) -> None:
        seen.append(options)
        init(self, *args, **options)

    monkeypatch.setattr(kind, "__init__", noted)
    explainer.check_drawable()
    assert seen == [dict(kind.quick_options)]


def test_it_is_saved_and_loaded(network: nn.Module, images: Tensor, tmp_path: Path) -> None:
    explainer = explainer_of(network, "Saliency", reduction="sum", sigma=1.0)
    explainer.save(tmp_path / "explainer")
    loaded = vitrine.load(tmp_path / "explainer", backbone=network)
    assert isinstance(loaded, AttributionExplainer)
    assert loaded.options == explainer.options
    torch.testing.assert_close(loaded.explain(images).heatmaps, explainer.explain(images).heatmaps)


def test_every_method_that_explains_classes_can_be_named() -> None:
    for name, method in all_methods().items():
        if method.explains_classes:
            assert AttributionOptions(name).method == name
