"""InversionMask is the explainer's optimisation with the face of an attribution method."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from vitrine.attribution import InversionMask
from vitrine.attribution.inversion.settings import Variant
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.explainers import InversionExplainer
from vitrine.explainers.inversion.explainer import InversionOptions

FEW: dict[str, Any] = {"inversion_steps": 3, "class_steps": 8}


class Small(nn.Module):
    """Two convolutions with batch norm and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Conv2d(6, 8, 3),
            nn.ReLU(inplace=True),
        )  # fmt: skip
        self.head = nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return self.head(self.features(images).mean(dim=(2, 3)))


@pytest.fixture
def small() -> nn.Module:
    """In training mode, with gradients that were there before."""
    torch.manual_seed(0)
    model = Small().double()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    return model


@pytest.fixture
def images() -> Tensor:
    return torch.randn(3, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_it_is_the_explainers_mask(variant: Variant, small: nn.Module, images: Tensor) -> None:
    explainer = InversionExplainer(
        FrozenBackbone(small), InversionOptions(variant=variant, image_size=12, overrides=FEW)
    )
    classes = torch.tensor([[0, 1], [3, 2], [2, 2]])
    actual = InversionMask(small, variant=variant, **FEW).attribute(images, classes)
    assert actual.shape == (3, 2, 1, 12, 12)
    torch.testing.assert_close(actual[:, :, 0], explainer.masks(images, classes), rtol=1e-9, atol=1e-10)
    predicted = InversionMask(small, variant=variant, **FEW).attribute(images)
    torch.testing.assert_close(predicted, explainer.explain(images).heatmaps, rtol=1e-9, atol=1e-10)


def test_with_several_labels_a_class_has_a_probability_of_its_own(small: nn.Module, images: Tensor) -> None:
    options: dict[str, Any] = {"inversion_steps": 0, "class_steps": 8, "class_penalty": 0.0}
    method = InversionMask(small, **options)
    softmax = method.attribute(images, 1)
    method.multi_label = True  # as a test of such a data set does
    sigmoid = method.attribute(images, 1)
    torch.testing.assert_close(sigmoid, InversionMask(small, score="sigmoid", **options).attribute(images, 1))
    torch.testing.assert_close(sigmoid, InversionMask(small, multi_label=True, **options).attribute(images, 1))
    assert (sigmoid - softmax).abs().max() > 1e-4


@pytest.mark.parametrize("at_once", [1, 2, None])
def test_a_bound_on_memory_changes_no_result(at_once: int | None, small: nn.Module, images: Tensor) -> None:
    classes = torch.tensor([[0, 1], [3, 2], [2, 2]])
    expected = InversionMask(small, **FEW).attribute(images, classes)
    batches: list[int] = []
    small.register_forward_pre_hook(lambda _module, inputs: batches.append(len(inputs[0])))
    actual = InversionMask(small, internal_batch_size=at_once, **FEW).attribute(images, classes)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-10)
    assert max(batches) == 2 * (at_once or 6)  # what is shown, and what is left


def test_a_named_layer_is_the_masks(small: nn.Module, images: Tensor) -> None:
    actual = InversionMask(small, "features.1", **FEW).attribute(images)
    explainer = InversionExplainer(
        FrozenBackbone(small),
        InversionOptions(variant="paper", mask_layers=["features.1"], image_size=12, overrides=FEW),
    )
    torch.testing.assert_close(actual, explainer.explain(images).heatmaps, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("arguments", [{"target": 1}, {"target": 4}, {"channel": 1}])
def test_the_model_is_as_it_was(arguments: dict[str, Any], small: nn.Module, images: Tensor) -> None:
    before, random, saved = copy.deepcopy(small.state_dict()), torch.get_rng_state(), images.clone()
    grads = [parameter.grad for parameter in small.parameters()]
    method = InversionMask(small, "features.4", **FEW)
    if arguments == {"target": 1}:
        method.attribute(images, **arguments)
    else:
        message = "target 4 is out of range" if "target" in arguments else "explains classes, not channels"
        with pytest.raises(ValueError, match=message):
            method.attribute(images, **arguments)
    assert all(torch.equal(before[name], value) for name, value in small.state_dict().items())
    assert all(parameter.requires_grad for parameter in small.parameters())
    assert [parameter.grad for parameter in small.parameters()] == grads
    assert all(grad is not None and torch.equal(grad, torch.ones_like(grad)) for grad in grads)
    assert all(module.training for module in small.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in small.modules())
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(images, saved)


def test_in_inference_mode_and_under_autocast(small: nn.Module, images: Tensor) -> None:
    expected = InversionMask(small, **FEW).attribute(images, [0, 1, 2])
    with torch.inference_mode():
        actual = InversionMask(small, **FEW).attribute(images.clone(), torch.tensor([0, 1, 2]))
    torch.testing.assert_close(actual, expected)
    single = small.float()
    with torch.autocast("cpu", torch.bfloat16):
        masks = InversionMask(single, **FEW).attribute(images.float())
    assert masks.dtype == torch.float32
    assert bool(masks.isfinite().all())


def test_unknown_words(small: nn.Module) -> None:
    with pytest.raises(ValueError, match="variant is 'other'; give 'paper'"):
        InversionMask(small, variant="other")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no layer 'nothing'"):
        InversionMask(small, "nothing")


def changed_bias(model: nn.Module) -> None:
    model.get_parameter("features.1.bias").data.add_(0.5)


CHANGES: dict[str, Callable[[Any], object]] = {
    "data of a folded weight": lambda model: model.features[0].weight.data.mul_(2),
    "data of another weight": lambda model: model.features[4].weight.data.neg_(),
    "new data": lambda model: setattr(model.features[0].weight, "data", model.features[0].weight.data.flip(0)),
    "data of a norm": changed_bias,
    "statistics by NumPy": lambda model: model.features[1].running_mean.numpy().__iadd__(0.5),
    "eps": lambda model: setattr(model.features[1], "eps", 0.7),
    "activation": lambda model: model.features.__setitem__(2, nn.Softplus()),
    "activation of a kind that is copied": lambda model: model.features.__setitem__(2, nn.SiLU(inplace=True)),
    "norm": lambda model: model.features.__setitem__(1, nn.BatchNorm2d(6, eps=0.3).double()),
    "no norm": lambda model: model.features.__setitem__(1, nn.Identity()),
    "head": lambda model: setattr(model, "head", nn.Linear(8, 4, bias=False).double()),
    "stride": lambda model: setattr(model.features[0], "stride", (2, 2)),
    "no bias": lambda model: setattr(model.features[0], "bias", None),
    "loaded": lambda model: model.load_state_dict({k: v * 1.5 for k, v in model.state_dict().items()}),
    "moved": lambda model: model.float(),
    "hook": lambda model: model.features[0].register_forward_hook(lambda _module, _inputs, output: output * 2),
    "parametrised": lambda model: weight_norm(model.features[0]).parametrizations.weight.original0.data.mul_(3),
    "forward": lambda model: setattr(
        model, "forward", lambda x: model.head(model.features[2:](model.features[0](x)).mean(dim=(2, 3)))
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_model_that_has_changed_is_not_remembered(change: str, small: nn.Module, images: Tensor) -> None:
    method = InversionMask(small, "features.4", **FEW)
    before = method.attribute(images, 1)
    torch.manual_seed(0)
    CHANGES[change](small)
    x = images.float() if change == "moved" else images
    actual = method.attribute(x, 1)
    tolerance = 1e-3 if change == "moved" else 1e-8
    torch.testing.assert_close(
        actual, InversionMask(small, "features.4", **FEW).attribute(x, 1), rtol=0, atol=tolerance
    )
    small.register_forward_hook(lambda *_: None)  # is run itself
    torch.testing.assert_close(
        actual, InversionMask(small, "features.4", **FEW).attribute(x, 1), rtol=0, atol=tolerance
    )
    assert change == "moved" or not torch.equal(actual, before)
