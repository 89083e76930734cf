"""Methods that share a forward pass: each gives what it gives alone, and the model runs once for all of them."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer, mobilenet_v2, resnet18
from typing_extensions import override

from vitrine.attribution import (
    CAM,
    RISE,
    Deconvnet,
    ExcitationBackprop,
    GradCAM,
    GradCAMPlusPlus,
    GuidedBackprop,
    GuidedGradCAM,
    GuidedGradCAMPlusPlus,
    LayerCAM,
    Method,
    Saliency,
)
from vitrine.attribution.autograd.interception import Rule
from vitrine.attribution.autograd.rules import deconvnet_rules
from vitrine.attribution.targets import Target
from vitrine.attribution.together import attribute_together

CHEAP: dict[str, Any] = {
    "saliency": Saliency,
    "gradient": lambda model: Saliency(model, absolute=False),
    "deconvnet": Deconvnet,
    "guided": GuidedBackprop,
    "CAM": CAM,
    "CAM of a layer": lambda model: CAM(model, "5"),
    "Grad-CAM": GradCAM,
    "Grad-CAM, low": lambda model: GradCAM(model, "0", relu=False),
    "Grad-CAM++": GradCAMPlusPlus,
    "LayerCAM": LayerCAM,
    "guided Grad-CAM": GuidedGradCAM,
    "guided Grad-CAM++": GuidedGradCAMPlusPlus,
}
IMAGES = torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(1))


class Backwards(nn.Module):
    """Works in place on what it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(1.5).flip(-1)


def net(rectifier: nn.Module | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4)
    norm.load_state_dict({"running_mean": torch.randn(4)}, strict=False)
    relu = nn.ReLU(inplace=True) if rectifier is None else rectifier
    layers = [nn.Conv2d(3, 4, 3), relu, norm, nn.Conv2d(4, 6, 3), Backwards(), relu, nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(6, 5))


def made(model: nn.Module) -> dict[str, Method]:
    return {name: make(model) for name, make in CHEAP.items()}


def passes(model: nn.Module) -> list[int]:
    sizes: list[int] = []
    model.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    return sizes


@pytest.mark.parametrize("target", [None, 2, [0, 3, 4], torch.tensor([[0, 1], [2, 2], [4, 0]])])
def test_each_gives_what_it_gives_alone_by_one_pass(target: Any) -> None:
    model = net()
    methods = made(model)
    alone = {name: method.attribute(IMAGES, target) for name, method in methods.items()}
    sizes = passes(model)
    together = attribute_together(methods, IMAGES, target)
    assert list(together) == list(methods)
    for name, maps in together.items():
        assert not maps.requires_grad
        torch.testing.assert_close(maps, alone[name], rtol=1e-5, atol=1e-7, msg=name)
        assert maps.any(), name
    assert sizes == [3]


def small_vit() -> VisionTransformer:
    torch.manual_seed(0)
    model = VisionTransformer(64, 16, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=10)
    nn.init.normal_(model.heads.head.weight)  # zeros otherwise
    return model


@pytest.mark.parametrize(("make", "layer"), [(resnet18, "layer3"), (mobilenet_v2, "features.10"), (small_vit, None)])
def test_networks(make: Any, layer: str | None) -> None:
    torch.manual_seed(0)
    model, images = make().eval(), torch.randn(2, 3, 64, 64)
    kinds: list[Any] = [GuidedBackprop, Deconvnet, Saliency]
    methods: dict[str, Method] = {kind.__name__: kind(model) for kind in kinds}
    if layer is not None:
        methods |= {"GradCAM": GradCAM(model), "low": LayerCAM(model, layer), "CAM": CAM(model)}
    for name, maps in attribute_together(methods, images, 7).items():
        expected = methods[name].attribute(images, 7)
        torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()), msg=name)


class Doubled(Saliency):
    @override
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        return 2 * super().maps(inputs, target)


class OwnRules(GuidedBackprop):
    @override
    def rectifier_rules(self) -> dict[str, Rule]:
        return deconvnet_rules()


class SkippedDropout(nn.Module):
    """A layer that gives its own input in eval mode, which another way reads too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.drop, self.second = nn.Conv2d(3, 4, 3), nn.Dropout(0.5), nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        logits: Tensor = self.head((x + self.second(self.drop(x))).relu().mean(dim=(2, 3)))
        return logits


class Rounded(SkippedDropout):
    """No gradient leads back to the first layer, but one to the pixels."""

    def forward(self, x: Tensor) -> Tensor:
        way_around = x.mean(dim=1, keepdim=True)[..., 1:-1, 1:-1]
        logits: Tensor = self.head((self.first(x).round() + way_around).relu().mean(dim=(2, 3)))
        return logits


def test_a_layer_that_gives_its_input_is_explained_by_its_own_way_alone() -> None:
    torch.manual_seed(0)
    model = SkippedDropout().eval()
    methods = {"a": Saliency(model), "b": GradCAM(model, "drop"), "c": LayerCAM(model, "drop")}
    for name, maps in attribute_together(methods, IMAGES, 1).items():
        torch.testing.assert_close(maps, methods[name].attribute(IMAGES, 1), rtol=1e-4, atol=1e-6, msg=name)
    product = GradCAM(model, "drop").attribute(IMAGES, 1) * GuidedBackprop(model).attribute(IMAGES, 1)
    torch.testing.assert_close(GuidedGradCAM(model, "drop").attribute(IMAGES, 1), product, rtol=1e-4, atol=1e-6)


def test_a_layer_without_a_gradient_is_refused_in_a_shared_pass_too() -> None:
    model = Rounded().eval()
    with pytest.raises(ValueError, match=r"(?i)no gradient"):
        GradCAM(model, "first").attribute(IMAGES, 1)
    with pytest.raises(ValueError, match=r"(?i)no gradient"):
        attribute_together({"a": Saliency(model), "b": GradCAM(model, "first")}, IMAGES, 1)


def test_others_run_by_themselves() -> None:
    model, other = net(), net()
    methods = made(model) | {
        "bounded": Saliency(model, internal_batch_size=1),
        "of another model": Saliency(other),
        "masks": RISE(model, n_samples=5, grid=2),
        "mass": ExcitationBackprop(model),
        "strided": GuidedBackprop(model, stride_one=True),
        "with maps of its own": Doubled(model),
        "with rules of its own": OwnRules(model),
    }
    for name, maps in attribute_together(methods, IMAGES, 1).items():
        torch.testing.assert_close(maps, methods[name].attribute(IMAGES, 1), rtol=1e-5, atol=1e-7, msg=name)


class MaximumWith0(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(x, torch.zeros(()).to(x))


@pytest.mark.parametrize("rectifier", [MaximumWith0(), nn.Hardtanh(-1, 0), nn.Tanh()])
def test_rectifiers_that_cannot_share_leave_the_others_together(rectifier: nn.Module) -> None:
    model = net(rectifier)
    rectified = {"guided": GuidedBackprop(model)} if isinstance(rectifier, MaximumWith0) else {}
    methods = {"saliency": Saliency(model), "Grad-CAM": GradCAM(model), "LayerCAM": LayerCAM(model), **rectified}
    alone = {name: method.attribute(IMAGES, 1) for name, method in methods.items()}
    sizes = passes(model)
    for name, maps in attribute_together(methods, IMAGES, 1).items():
        torch.testing.assert_close(maps, alone[name], msg=name)
    assert len(sizes) <= 1 + 2 * len(rectified)


def test_an_error_is_that_of_the_method_alone() -> None:
    model = net(nn.Tanh())
    with pytest.raises(ValueError, match="GuidedBackprop met no ReLU"):
        attribute_together({"a": Saliency(model), "b": GuidedBackprop(model)}, IMAGES, 1)
    with pytest.raises(ValueError, match="target 5 is out of range"):
        attribute_together({"a": Saliency(model), "b": GradCAM(model)}, IMAGES, 5)


def test_a_model_that_mixes_a_batch_and_none_of_images() -> None:
    model = net()
    model[2] = nn.BatchNorm2d(4, track_running_stats=False)
    methods = made(model)
    for name, maps in attribute_together(methods, IMAGES, 1).items():
        torch.testing.assert_close(maps, methods[name].attribute(IMAGES, 1), msg=name)
    none = attribute_together({"a": Saliency(net()), "b": Saliency(net())}, IMAGES[:0], 1)
    assert none["a"].shape == (0, 3, 12, 12)
    assert attribute_together({}, IMAGES, 1) == {}
