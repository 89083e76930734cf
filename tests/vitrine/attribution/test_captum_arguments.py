"""Methods and explainers in Captum's hands: its metrics, its tuples and its targets, against figures computed by hand."""

from typing import Any

import pytest
import torch
from captum import attr, metrics
from torch import Tensor, nn

from vitrine.attribution import GradCAM, IntegratedGradients, Occlusion, Saliency
from vitrine.attribution.together import attribute_together
from vitrine.backbones import FrozenBackbone
from vitrine.explainers.attribution import AttributionExplainer, AttributionOptions


class Pixels(nn.Module):
    """Maps of logits (B, 4, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)).eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(2))


def noise(inputs: Tensor) -> tuple[Tensor, Tensor]:
    taken_away = 0.1 * torch.randn(inputs.shape, generator=torch.Generator().manual_seed(len(inputs)))
    return taken_away, inputs - taken_away


@pytest.mark.parametrize("method", [Saliency, IntegratedGradients, GradCAM])
def test_captums_infidelity_takes_the_maps(method: Any, model: nn.Module, images: Tensor) -> None:
    maps = method(model).attribute((images,), target=2, input_shaped=True)
    found = metrics.infidelity(model, noise, images, maps, target=2, n_perturb_samples=1)
    taken_away, perturbed = noise(images)
    with torch.no_grad():
        falls = (model(images) - model(perturbed))[:, 2]
    by_hand = ((maps[0] * taken_away).flatten(1).sum(dim=1) - falls) ** 2
    torch.testing.assert_close(found, by_hand.detach(), atol=1e-9, rtol=1e-4)


@pytest.mark.parametrize("target", [2, [0, 4, 1], torch.tensor([0, 4, 1]), torch.tensor([2]), None])
@pytest.mark.parametrize("method", [Saliency, GradCAM, Occlusion])
def test_captums_sensitivity_calls_a_method(method: Any, target: Any, model: nn.Module, images: Tensor) -> None:
    explaining = Occlusion(model, window=3, stride=3) if method is Occlusion else method(model)
    shifted = images.flip(-1) * 0.02
    arguments = {} if target is None else {"target": target}
    found = metrics.sensitivity_max(
        explaining.attribute,
        images,
        perturb_func=lambda inputs, _radius: inputs + shifted,
        n_perturb_samples=1,
        **arguments,
    )
    one_each = [target] * 3 if isinstance(target, int) else target
    one_each = [2] * 3 if isinstance(target, Tensor) and len(target) == 1 else one_each
    before, after = (explaining.attribute(given, one_each).flatten(1) for given in (images, images + shifted))
    sizes = before.norm(dim=1)
    by_hand = (after - before).norm(dim=1) / torch.where(sizes > 0, sizes, 1)
    assert found.max() > 0
    torch.testing.assert_close(found, by_hand, atol=1e-6, rtol=1e-4)


def test_captums_metrics_take_an_explainer(model: nn.Module, images: Tensor) -> None:
    explainer = AttributionExplainer(FrozenBackbone(model), AttributionOptions("GradCAM", image_size=12))
    torch.manual_seed(0)
    plain = metrics.sensitivity_max(explainer.attribute, images, target=1, n_perturb_samples=2)
    torch.manual_seed(0)
    shaped = metrics.sensitivity_max(
        explainer.attribute, images, target=1, n_perturb_samples=2, input_shaped=True, additional_forward_args=None
    )
    torch.testing.assert_close(shaped, plain)
    (maps,) = explainer.attribute((images,), target=torch.tensor([1]), input_shaped=True)
    assert torch.equal(maps[:, 2:], explainer.attribute(images, 1))
    assert metrics.infidelity(model, noise, images, maps, target=1).shape == (3,)


def test_a_tuple_gives_a_tuple_and_a_map_all_channels_where_asked(model: nn.Module, images: Tensor) -> None:
    method = GradCAM(model)
    one = method.attribute(images, 1)
    (in_tuple,) = method.attribute((images,), 1)
    assert torch.equal(in_tuple, one)
    assert one.shape == (3, 1, 12, 12)
    assert torch.equal(method.attribute(images, 1, input_shaped=True), one.expand(-1, 3, -1, -1))
    several = method.attribute(images, torch.tensor([[1, 2]] * 3), input_shaped=True)
    assert several.shape == (3, 2, 3, 12, 12)
    saliency = Saliency(model)
    assert torch.equal(saliency.attribute(images, 1, input_shaped=True), saliency.attribute(images, 1))


@pytest.mark.parametrize("target", [(1, 2, 3), [(1, 2, 3), (0, 5, 5), (3, 0, 7)], (1, 11, 0)])
def test_targets_of_several_indices_are_captums(target: Any, images: Tensor) -> None:
    model = Pixels()
    expected = attr.Saliency(model).attribute(images.clone().requires_grad_(), target)
    torch.testing.assert_close(Saliency(model).attribute(images, target), expected)


@pytest.mark.parametrize(("target", "index"), [((2,), 2), ([(2,), (0,), (4,)], [2, 0, 4]), ((4, 0, 1), [4, 0, 1])])
def test_tuples_on_one_dimension_of_classes(target: Any, index: Any, model: nn.Module, images: Tensor) -> None:
    method = Saliency(model)
    assert torch.equal(method.attribute(images, target), method.attribute(images, index))


def test_a_list_of_pairs_is_still_two_classes_for_each(model: nn.Module, images: Tensor) -> None:
    pairs = [(0, 1), (2, 3), (4, 0)]
    assert torch.equal(GradCAM(model).attribute(images, pairs), GradCAM(model).attribute(images, torch.tensor(pairs)))


def test_methods_together_take_what_each_takes(model: nn.Module, images: Tensor) -> None:
    methods = {"saliency": Saliency(model), "cam": GradCAM(model)}
    found = attribute_together(methods, images, lambda logits: logits[:, 3])
    assert all(torch.equal(found[name], method.attribute(images, 3)) for name, method in methods.items())


def test_what_captum_could_pass_and_a_model_does_not_take_is_said(model: nn.Module, images: Tensor) -> None:
    with pytest.raises(ValueError, match="tuple of 2"):
        Saliency(model).attribute((images, images), 1)
    with pytest.raises(ValueError, match="additional_forward_args"):
        Saliency(model).attribute(images, 1, additional_forward_args=(3,))  # type: ignore[call-overload]
    with pytest.raises(ValueError, match=r"\(9, 0, 0\) is no place"):
        Saliency(Pixels()).attribute(images, (9, 0, 0))
