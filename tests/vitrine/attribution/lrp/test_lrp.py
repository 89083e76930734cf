"""LRP in closed form, where it must hold, and where it must be refused."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from tests.helpers.lrp_networks import images, vgg_net
from vitrine.attribution.gradient.saliency import Saliency
from vitrine.attribution.lrp.lrp import LRP


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def two_layers(activation: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 7), activation, nn.Linear(7, 4)).double()


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.ReLU(inplace=True), nn.Tanh()])
def test_two_layers_by_hand(activation: nn.Module) -> None:
    model, x = two_layers(activation), torch.randn(1, 3, 2, 2, dtype=torch.float64)
    w1, b1, w2, b2 = (parameter.detach() for parameter in model.parameters())
    a0 = x.flatten()
    z1 = w1 @ a0 + b1
    a1 = z1.tanh() if isinstance(activation, nn.Tanh) else z1.clamp(min=0)
    z2 = w2 @ a1 + b2
    for target in range(4):
        relevances = [torch.zeros(7, dtype=torch.float64), torch.zeros(12, dtype=torch.float64)]
        for k in range(7):
            relevances[0][k] = a1[k] * w2[target, k] / (z2[target] + 1e-9 * z2[target].sign()) * z2[target]
        for j in range(12):
            for k in range(7):
                relevances[1][j] += a0[j] * w1[k, j] / (z1[k] + 1e-9 * z1[k].sign()) * relevances[0][k]
        actual = LRP(model).attribute(x, target)
        torch.testing.assert_close(actual.flatten(), relevances[1], rtol=1e-9, atol=1e-9)


class FireNet(nn.Module):
    """As SqueezeNet: two branches that are concatenated, functions in between, and a ReLU at the end."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, bias=bias)
        self.relu = nn.ReLU(inplace=True)
        self.squeeze = nn.Conv2d(6, 4, 1, bias=bias)
        self.branches = nn.ModuleList(nn.Conv2d(4, 5, k, padding=k // 2, bias=bias) for k in (1, 3))
        self.activations = nn.ModuleList(nn.ReLU(inplace=True) for _ in range(2))
        self.classifier = nn.Sequential(
            nn.Dropout2d(), nn.Conv2d(10, 4, 1, bias=bias), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)
        )

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.squeeze(F.max_pool2d(self.relu(self.stem(images)), 2)), inplace=True)
        x = torch.cat([relu(branch(x)) for relu, branch in zip(self.activations, self.branches, strict=True)], dim=1)
        return torch.flatten(self.classifier(x), 1)


@pytest.mark.parametrize("network", [FireNet, vgg_net])
def test_without_biases_a_map_sums_to_its_logit(network: Callable[..., nn.Module]) -> None:
    model, x = network(bias=False).double(), images(8)
    classes = 4 if network is FireNet else 5
    actual = LRP(model).attribute(x, torch.arange(classes).expand(8, -1))
    logits = model.eval()(x).detach()
    assert logits.abs().max() > 0.01
    torch.testing.assert_close(actual.sum((2, 3, 4)), logits, rtol=1e-5, atol=1e-8)


def test_with_relus_alone_it_is_gradient_times_input() -> None:
    for model in (FireNet().double(), FireNet(bias=False).double()):
        x, targets = images(8), torch.arange(4).expand(8, -1)
        gradient = Saliency(model, absolute=False).attribute(x, targets)
        actual = LRP(model).attribute(x, targets)
        torch.testing.assert_close(actual, gradient * x[:, None], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("layer", ["relu", "squeeze", "branches.1", "classifier.1", "classifier.3"])
def test_a_channel_is_gradient_times_input_too(layer: str) -> None:
    # also where layers with a rule of their own take its output, or a function in place does
    model, x = FireNet().double(), images(3)
    channels = torch.tensor([[0, 2], [3, 1], [1, 1]])
    gradient = Saliency(model, layer, absolute=False).attribute(x, channel=channels)
    actual = LRP(model, layer).attribute(x, channel=channels)
    assert actual.abs().max() > 0
    torch.testing.assert_close(actual, gradient * x[:, None], rtol=1e-5, atol=1e-8)


def narrow_vgg() -> nn.Sequential:
    features = torchvision.models.vgg.make_layers([8, "M", 16, "M", 16, 16, "M"], batch_norm=True)
    head = [nn.Linear(64, 32), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(32, 5)]
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(2), nn.Flatten(), *head)


@pytest.mark.parametrize("network", [torchvision.models.squeezenet1_0, torchvision.models.squeezenet1_1, narrow_vgg])
def test_networks_of_torchvision_that_pass(network: Callable[[], nn.Module]) -> None:
    model, x = network(), images(2, 48).float()
    expected = Saliency(model, absolute=False).attribute(x, 3) * x
    assert expected.abs().max() > 0
    off = (LRP(model).attribute(x, 3) - expected).norm() / expected.norm()
    assert off < 1e-3  # in float32, and what ε takes


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_propagated_in_float32(dtype: torch.dtype) -> None:
    model, x = vgg_net(), images().to(dtype)
    actual = LRP(model.to(dtype)).attribute(x, 1)
    assert actual.dtype == torch.float32
    expected = LRP(model.float()).attribute(x.float(), 1)
    torch.testing.assert_close(actual, expected)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(LRP(model).attribute(x.float(), 1), expected)
