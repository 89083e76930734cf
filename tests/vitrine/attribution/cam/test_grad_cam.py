"""Class activation maps against Captum, pytorch-grad-cam, closed forms and naive loops."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import captum.attr
import pytest
import pytorch_grad_cam
import torch
import torch.nn.functional as F
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torchvision.models import get_model

from vitrine.attribution.base import Method
from vitrine.attribution.cam.cam import CAM
from vitrine.attribution.cam.class_activation import ClassActivation
from vitrine.attribution.cam.grad_cam import GradCAM, GradCAMPlusPlus, GuidedGradCAM, GuidedGradCAMPlusPlus, LayerCAM
from vitrine.attribution.cam.score_cam import ScoreCAM
from vitrine.attribution.cam.upsampled_activation import UpsampledActivation
from vitrine.attribution.gradient.deconvnet import GuidedBackprop
from vitrine.backbones.taps import captured

LAYERS = {"vgg11_bn": "features", "resnet18": "layer4", "squeezenet1_0": "features"}
METHODS: list[Any] = [CAM, GradCAM, GradCAMPlusPlus, LayerCAM, ScoreCAM, GuidedGradCAM, GuidedGradCAMPlusPlus]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def network(name: str, classes: int = 10) -> nn.Module:
    """Random weights, in float64, with batch norms that are not the identity."""
    arguments = {"init_weights": False} if name in {"googlenet", "vgg11_bn"} else {}
    model: nn.Module = get_model(name, weights=None, num_classes=classes, **arguments)
    if name == "vgg11_bn":
        model.set_submodule("classifier", nn.Linear(512 * 49, classes))  # the published one is slow
    model.double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return model


def small() -> nn.Sequential:
    """Convolutions with in-place rectifiers, global average pooling and a linear layer; in training mode."""
    features = [
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.Conv2d(6, 8, 3, stride=2),
    ]
    head = [nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)]
    return nn.Sequential(*features, *head).double()


def images(batch: int = 2, height: int = 12, width: int = 9) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def bilinear(maps: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(maps, like.shape[2:], mode="bilinear", align_corners=False)


def targets_of(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        target: Tensor = model(x).argmax(dim=1)
    return target


def close(actual: Tensor, expected: Tensor, to: float = 1e-9) -> None:
    """Equal to a part of the largest value, which is not 0."""
    assert expected.abs().max() > 0
    torch.testing.assert_close(actual, expected.detach(), atol=to * float(expected.detach().abs().max()), rtol=0)


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Fails where what is done within leaves a trace on the model or on the random state."""
    state = {name: value.clone() for name, value in model.state_dict().items()}
    training = [module.training for module in model.modules()]
    gradients = [(p.requires_grad, p.grad) for p in model.parameters()]
    random = torch.get_rng_state()
    try:
        yield
    finally:
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
        assert [module.training for module in model.modules()] == training
        assert all((p.requires_grad, p.grad) == old for p, old in zip(model.parameters(), gradients, strict=True))
        assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())
        assert torch.equal(torch.get_rng_state(), random)


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
    close(GradCAM(model, layer).attribute(x, target), expected, to=1e-5)
    close(GradCAM(model).attribute(x), expected, to=1e-5)
    signed = GradCAM(model, relu=False).attribute(x, target)
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
    close(method(model).attribute(x, target), expected, to=1e-5)


def test_score_cam_is_pytorch_grad_cams(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_aligned_corners(size: tuple[int, int]) -> nn.Module:
        return nn.Upsample(size=size, mode="bilinear", align_corners=False)

    monkeypatch.setattr(torch.nn, "UpsamplingBilinear2d", without_aligned_corners)
    model, x = small().eval(), images()
    model[8].get_parameter("weight").data *= 30  # scores that differ
    target = targets_of(model, x)
    expected = bilinear(coarse_of_others(OTHERS[ScoreCAM], model, "5", x, target), x)
    close(ScoreCAM(model, "5").attribute(x, target), expected, to=1e-5)


def test_score_cam_is_a_loop_over_channels() -> None:
    model, x = small().eval(), images()
    model[8].get_parameter("weight").data *= 30
    model[4].get_parameter("weight").data[3], model[4].get_parameter("bias").data[3] = (
        0,
        0.5,
    )  # a constant channel masks all
    activations = model[:6](x)
    expected = torch.zeros(2, 5, 12, 9, dtype=torch.float64)
    for b in range(2):
        baseline = model(torch.zeros_like(x[:1]))[0]
        increases = []
        for k in range(8):
            mask = bilinear(activations[b, k][None, None], x)
            mask = (mask - mask.min()) / (mask.max() - mask.min()) if mask.max() > mask.min() else mask * 0
            increases.append(model(x[b : b + 1] * mask)[0] - baseline)
        alpha = torch.stack(increases).softmax(dim=0)
        for k in range(5):
            coarse = sum(a * activation for a, activation in zip(alpha[:, k], activations[b], strict=True)).relu()
            expected[b, k] = bilinear(coarse[None, None], x)[0, 0]
    actual = ScoreCAM(model, internal_batch_size=5).attribute(x, torch.arange(5).expand(2, 5))
    close(actual, expected[:, :, None])


class Counting(nn.Module):
    """Notes how many inputs go through at once."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.seen = small(), list[int]()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        output: Tensor = self.network(x)
        return output


def test_score_cam_keeps_to_its_bound_and_shares_its_passes() -> None:
    model, x = Counting(), images(3)
    whole = ScoreCAM(model, "network.5", internal_batch_size=None).attribute(x, torch.tensor([[0, 1]] * 3))
    assert model.seen == [3, 8, 8, 8]
    model.seen.clear()
    bounded = ScoreCAM(model, "network.5", internal_batch_size=2).attribute(x, torch.tensor([[0, 1]] * 3))
    assert max(model.seen) == 2
    assert sum(model.seen) == 27
    close(bounded, whole)


def test_several_classes_cost_one_forward_pass() -> None:
    model, x = Counting(), images(3)
    for method in (GradCAM, GradCAMPlusPlus, LayerCAM):
        method(model, "network.5").attribute(x, torch.arange(5).expand(3, 5))
    CAM(model).attribute(x, torch.arange(5).expand(3, 5))
    assert model.seen == [3, 3, 3, 3]


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


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "densenet121", "googlenet", "shufflenet_v2_x0_5"])
def test_cam_is_grad_cam_times_the_area(name: str) -> None:
    model, x = network(name), torch.rand(2, 3, 64, 96, dtype=torch.float64)
    targets = torch.tensor([[3, 1], [0, 9]])
    actual = CAM(model).attribute(x, targets)
    if name != "densenet121":  # there a function rectifies between the last layer and the pooling
        close(actual, GradCAM(model, relu=False).attribute(x, targets) * 6)
    bias = [m for m in model.modules() if isinstance(m, nn.Linear)][-1].bias
    with torch.no_grad():
        coarse = CAM(model).coarse_maps(x, CAM(model)._target(2, targets, None))
        close(coarse.mean(dim=(2, 3)) + bias[targets], model(x).gather(1, targets))
        close(actual, bilinear(coarse, x)[:, :, None])


@pytest.mark.parametrize("classes", [10, 512])  # for 512, the weights of the classifier have the identity's shape
def test_cam_of_squeezenet_is_the_channel_of_the_class(classes: int) -> None:
    model, x = network("squeezenet1_0", classes), torch.rand(2, 3, 64, 64, dtype=torch.float64)
    target = targets_of(model, x)
    with torch.no_grad(), captured(model, ["classifier.2"]) as outputs:
        model(x)
    close(CAM(model).attribute(x), bilinear(outputs["classifier.2"][torch.arange(2), target][:, None], x))
    close(CAM(model, "classifier.2").attribute(x), CAM(model).attribute(x))


def test_cam_takes_a_convolutional_classifier_after_the_pooling() -> None:
    model, x = small().eval(), images()
    linear = model[8]
    convolutional = nn.Sequential(*model[:7], nn.Conv2d(8, 5, 1), nn.Flatten()).double().eval()
    with torch.no_grad():
        convolutional[7].get_parameter("weight").copy_(linear.get_parameter("weight")[:, :, None, None])
        convolutional[7].get_parameter("bias").copy_(linear.get_parameter("bias"))
    close(CAM(convolutional).attribute(x), CAM(model).attribute(x))


def test_cam_without_bias_and_with_a_mean_method() -> None:
    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features, self.classifier = small()[:5], nn.Linear(8, 5, bias=False).double()

        def forward(self, x: Tensor) -> Tensor:
            output: Tensor = self.classifier(self.features(x).mean((2, 3)))
            return output

    model, x = Mean(), images()
    close(CAM(model).attribute(x), GradCAM(model, relu=False).attribute(x) * 12)


@pytest.mark.parametrize(("name", "layer"), [("vgg11_bn", None), ("resnet18", "layer3"), ("squeezenet1_0", "features")])
def test_cam_refuses_other_networks(name: str, layer: str | None) -> None:
    model, x = network(name), torch.rand(1, 3, 64, 64, dtype=torch.float64)
    with unchanged(model), pytest.raises(ValueError, match=r"CAM needs global average pooling.*use GradCAM"):
        CAM(model, layer).attribute(x)


def test_cam_refuses_a_network_that_almost_fits() -> None:
    model, x = small().eval(), images()
    with pytest.raises(ValueError, match="Sequential is not built so; use GradCAM"):
        CAM(model.insert(8, nn.Tanh())).attribute(x)
    with pytest.raises(ValueError, match="use GradCAM"):
        CAM(small().append(nn.Softmax(dim=1))).attribute(x)
    with pytest.raises(ValueError, match="use GradCAM"):
        CAM(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(280, 5)).double()).attribute(x)


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
    close(GuidedGradCAM(model).attribute(x), expected.detach(), to=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_batches_classes_and_bounds_change_no_result(method: type[ClassActivation]) -> None:
    model, x = small(), images(3)
    targets = torch.tensor([[0, 4], [2, 2], [1, 3]])
    maps = method(model, relu=False).attribute(x, targets)
    assert maps.shape == (3, 2, 3 if issubclass(method, GuidedGradCAM | GuidedGradCAMPlusPlus) else 1, 12, 9)
    assert maps.dtype == torch.float64
    assert not maps.requires_grad
    close(method(model, relu=False, internal_batch_size=2).attribute(x, targets), maps)
    for k in range(2):
        close(method(model, relu=False).attribute(x, targets[:, k]), maps[:, k])
    for b in range(3):
        close(method(model, relu=False).attribute(x[b : b + 1], targets[b : b + 1])[0], maps[b])
    predicted = targets_of(copy.deepcopy(model).eval(), x)
    torch.testing.assert_close(method(model).attribute(x), method(model).attribute(x, predicted))


@pytest.mark.parametrize("method", METHODS)
def test_the_model_is_left_as_it_was(method: type[ClassActivation], monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = small(), images()
    model[0].weight.grad = torch.ones(6, 3, 3, 3, dtype=torch.float64)
    model[0].bias.requires_grad_(False)  # noqa: FBT003 - its only argument
    model[1].eval()
    before = x.clone()
    with unchanged(model):
        plain = method(model).attribute(x, 1)
        with torch.inference_mode():
            torch.testing.assert_close(method(model).attribute(x, 1), plain)
        with pytest.raises(ValueError, match="target 5 is out of range"):
            method(model, "5").attribute(x, 5)
    assert torch.equal(x, before)

    def failing(_x: Tensor) -> Tensor:
        raise RuntimeError("half way")

    monkeypatch.setattr(model[7], "forward", failing)
    for layer in (None, "5"):
        with unchanged(model), pytest.raises(RuntimeError, match="half way"):
            method(model, layer).attribute(x, 1)


@pytest.mark.parametrize("method", METHODS)
def test_a_channel_is_refused(method: type[ClassActivation]) -> None:
    for layer in (None, "5"):
        with pytest.raises(ValueError, match=f"{method.__name__} explains classes.*UpsampledActivation.*Deconvnet"):
            method(small(), layer).attribute(images(), channel=0)


@pytest.mark.parametrize("method", [GradCAM, GradCAMPlusPlus, LayerCAM, ScoreCAM, GuidedGradCAM])
def test_an_in_place_rectifier_behind_the_layer_changes_nothing(method: type[ClassActivation]) -> None:
    model, x = small(), images()
    plain = copy.deepcopy(model)
    plain[2], plain[5] = nn.ReLU(), nn.ReLU()
    for layer in ("1", "4"):
        close(method(model, layer, relu=False).attribute(x, 0), method(plain, layer, relu=False).attribute(x, 0))


class Reused(nn.Module):
    """One convolution, twice."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.classifier = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.classifier(self.convolution(self.convolution(x).tanh()).tanh().mean((2, 3)))
        return output


@pytest.mark.parametrize("method", [GradCAM, GradCAMPlusPlus, LayerCAM])
def test_the_last_output_of_a_reused_layer_counts(method: type[ClassActivation]) -> None:
    model, x = Reused().double(), images()
    rest = nn.Sequential(nn.Identity(), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), model.classifier)
    with torch.no_grad():
        inner = model.convolution(model.convolution(x).tanh())
    close(method(model, "convolution").attribute(x, 1), method(rest, "0").attribute(inner, 1))
    close(method(model).attribute(x, 1), method(model, "convolution").attribute(x, 1))


class Odd(nn.Module):
    """Has layers that no map can be drawn over."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.pairs, self.unused = small(), nn.MaxPool2d(2, return_indices=True), nn.Conv2d(3, 3, 1)
        self.aside = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        self.pairs(x)
        self.aside(x)
        output: Tensor = self.features(x)
        return output


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("features.8", r"Layer 'features.8' gives \(2, 5\) for 2 inputs, which has no places"),
        ("pairs", "Layer 'pairs' gives a tuple, not a tensor"),
        ("unused", "Layer 'unused' gave no output"),
    ],
)
@pytest.mark.parametrize("method", [GradCAM, ScoreCAM, CAM])
def test_layers_that_give_no_map_are_refused(method: type[ClassActivation], layer: str, message: str) -> None:
    model = Odd().double()
    with unchanged(model), pytest.raises(ValueError, match=message):
        method(model, layer).attribute(images())


def test_a_layer_aside_of_the_way_to_the_logits_is_refused() -> None:
    model = Odd().double()
    with unchanged(model), pytest.raises(ValueError, match="does not depend on layer 'aside'"):
        GradCAM(model, "aside").attribute(images())


def test_less_than_float32_gives_float32() -> None:
    model, x = small().bfloat16(), images().bfloat16()
    for method in METHODS:
        expected = method(small(), "5", relu=False)
        expected.model.load_state_dict({name: value.double() for name, value in model.state_dict().items()})
        actual = method(model, relu=False).attribute(x, 0)
        assert actual.dtype == torch.float32
        close(actual.double(), expected.attribute(x.double(), 0), to=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_under_autocast_maps_are_whole(method: type[ClassActivation]) -> None:
    model, x = small().float(), images().float()
    expected = method(model, relu=False).attribute(x, 0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = method(model, relu=False).attribute(x, 0)
    assert actual.dtype == torch.float32
    close(actual, expected, to=0.1)


@pytest.mark.parametrize("batch", [1, 3])
def test_upsampled_activation(batch: int) -> None:
    model, x = small(), images(batch)
    with unchanged(model):
        maps = UpsampledActivation(model, "4").attribute(x, channel=torch.tensor([[7, 0]] * batch))
    with torch.no_grad():
        activations = copy.deepcopy(model).eval()[:5](x)
    assert activations.min() < 0
    torch.testing.assert_close(maps, bilinear(activations[:, [7, 0]], x)[:, :, None])
    bounded = UpsampledActivation(model, model[4], internal_batch_size=1).attribute(x, channel=7)
    torch.testing.assert_close(bounded, maps[:, 0])


@pytest.mark.parametrize("arguments", [{}, {"target": 1}, {"target": 1, "channel": 1}])
def test_upsampled_activation_knows_no_classes(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="give channel alone"):
        UpsampledActivation(small(), "4").attribute(images(), **arguments)


def test_upsampled_activation_refuses_what_there_is_not() -> None:
    with pytest.raises(ValueError, match="channel 8 is out of range"):
        UpsampledActivation(small(), "4").attribute(images(), channel=8)
    with pytest.raises(ValueError, match="no places in the image"):
        UpsampledActivation(small(), "8").attribute(images(), channel=0)
    with pytest.raises(ValueError, match="name the layer"):
        UpsampledActivation(small()).attribute(images(), channel=0)


def test_empty_batches_give_empty_maps() -> None:
    for method in METHODS:
        assert method(small()).attribute(images(0), 0).shape[0] == 0
    assert UpsampledActivation(small(), "4").attribute(images(0), channel=0).shape == (0, 1, 12, 9)
