"""All class activation maps: batches, bounds, layers, precision, and an unchanged model."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.cam_models import close, images, small, targets_of, unchanged
from vitrine.attribution.cam.cam import CAM
from vitrine.attribution.cam.class_activation import ClassActivation
from vitrine.attribution.cam.grad_cam import GradCAM, GradCAMPlusPlus, GuidedGradCAM, GuidedGradCAMPlusPlus, LayerCAM
from vitrine.attribution.cam.score_cam import ScoreCAM
from vitrine.attribution.cam.upsampled_activation import UpsampledActivation
from vitrine.core.image_ops import degenerate

METHODS: list[Any] = [CAM, GradCAM, GradCAMPlusPlus, LayerCAM, ScoreCAM, GuidedGradCAM, GuidedGradCAMPlusPlus]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


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


def test_empty_batches_give_empty_maps() -> None:
    for method in METHODS:
        assert method(small()).attribute(images(0), 0).shape[0] == 0
    assert UpsampledActivation(small(), "4").attribute(images(0), channel=0).shape == (0, 1, 12, 9)


class OneColour(nn.Module):
    """Pointwise layers and global pooling: an image of one colour gives feature maps that are constant."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, channels, 1), nn.Softplus())
        self.classifier = nn.Linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.classifier(self.body(x).mean((2, 3)))
        return output


@pytest.mark.parametrize("method", [CAM, GradCAM, GradCAMPlusPlus, LayerCAM, ScoreCAM])
@pytest.mark.parametrize("size", [(1, 1), (5, 9)])
def test_constant_feature_maps_give_degenerate_maps(method: type[ClassActivation], size: tuple[int, int]) -> None:
    model = nn.Sequential(nn.AdaptiveAvgPool2d(size), OneColour(64)).eval()
    x = torch.randn(2, 3, 1, 1).expand(-1, -1, 20, 18).contiguous()
    maps = method(model, "1.body", relu=False).attribute(x, torch.arange(10).expand(2, 10))
    assert maps.dtype == torch.float32
    assert degenerate(maps).all()
    assert (maps == maps[..., :1, :1]).all()
    channels = UpsampledActivation(model, "1.body").attribute(x, channel=torch.arange(64).expand(2, 64))
    assert (channels == channels[..., :1, :1]).all()


class TwoHeads(nn.Module):
    """Two ways to logits, each with a layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Linear(4, 5)
        self.share = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        a, b = self.a(x).relu().mean(dim=(2, 3)), self.b(x).relu().mean(dim=(2, 3))
        return {"x": self.head(a + self.share * b), "aux": self.head(a)}


def test_the_layer_that_is_looked_for_follows_output_and_weights() -> None:
    model, x = TwoHeads().eval(), torch.rand(1, 3, 12, 12)

    def same_as_of_a_network_not_seen_before(output: str) -> None:
        found, expected = (GradCAM(one, output=output).attribute(x, 1) for one in (model, copy.deepcopy(model)))
        torch.testing.assert_close(found, expected)

    for output in ("x", "aux", "x"):
        same_as_of_a_network_not_seen_before(output)
    model.share = nn.Parameter(torch.zeros(()))
    same_as_of_a_network_not_seen_before("x")
