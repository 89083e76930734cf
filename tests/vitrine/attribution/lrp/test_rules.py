"""Captum's rules are tried on a copy, and networks for which they do not hold are refused."""

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


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.body = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(4, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        x = self.relu(x + self.body(x))
        return self.head(self.pool(x).flatten(1))


class Functional(nn.Module):
    """Calls a function in place of a layer."""

    def __init__(self, activation: Callable[[Tensor], Tensor], pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 5)
        self.activation, self.pool = activation, pool

    def forward(self, images: Tensor) -> Tensor:
        x = self.activation(self.second(self.activation(self.first(images))))
        return self.head(self.pool(x).flatten(1))


def mean_over_space(x: Tensor) -> Tensor:
    return x.mean((2, 3))


def clamped(x: Tensor) -> Tensor:
    return x.clamp(min=-1)


SUMS = r"relevance sums to \S+ where the output is \S+;.* sum of a residual block: use ExcitationBackprop"


MISPLACED = r"relevance sums to the output \S+ but is misplaced by .* mean over space: use ExcitationBackprop"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Residual, SUMS),
        (lambda: torchvision.models.resnet18(num_classes=4), SUMS),
        (lambda: torchvision.models.mnasnet0_5(num_classes=4), SUMS),
        (lambda: Functional(F.leaky_relu, nn.AdaptiveAvgPool2d(1)), SUMS),
        (lambda: Functional(clamped, nn.AdaptiveAvgPool2d(1)), SUMS),
        (lambda: Functional(torch.tanh, nn.AdaptiveAvgPool2d(1)), SUMS),
        (lambda: Functional(nn.ReLU(), mean_over_space), MISPLACED),
        (lambda: torchvision.models.mobilenet_v2(num_classes=4), r"MobileNetV2: .* 'features.0.2', a ReLU6; use Exc"),
        (lambda: Functional(nn.GELU(), nn.AdaptiveAvgPool2d(1)), r"Functional: .* 'activation', a GELU; use Exc"),
    ],
)
def test_networks_that_are_refused(model: Callable[[], nn.Module], message: str) -> None:
    x = torch.randn(2, 3, 32, 32)
    explainer = LRP(model())
    for _ in range(2):  # and are refused again
        with pytest.raises(ValueError, match=message):
            explainer.attribute(x, 1)


@pytest.mark.parametrize("pool", [nn.AdaptiveAvgPool2d(1), nn.MaxPool2d(6), lambda x: F.max_pool2d(x, 6)])
@pytest.mark.parametrize("activation", [F.relu, nn.ReLU(inplace=True), torch.relu_])
def test_functions_that_do_no_harm(activation: Callable[[Tensor], Tensor], pool: Callable[[Tensor], Tensor]) -> None:
    model, x = Functional(activation, pool).double(), images()
    actual = LRP(model).attribute(x, 1)
    torch.testing.assert_close(actual, Saliency(model, absolute=False).attribute(x, 1) * x, rtol=1e-5, atol=1e-8)


def test_a_layer_below_the_residual_sum_is_explained() -> None:
    model, x = Residual().double(), images()
    actual = LRP(model, "stem").attribute(x, channel=2)
    torch.testing.assert_close(actual, Saliency(model, "stem", absolute=False).attribute(x, channel=2) * x)
    with pytest.raises(ValueError, match="sum of a residual block"):
        LRP(model, "relu").attribute(x, channel=2)


def test_a_reused_module_is_named() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3)

        def forward(self, images: Tensor) -> Tensor:
            return self.conv(self.conv(images)).amax((2, 3))

    with pytest.raises(
        ValueError, match=r"Twice: Module Conv2d\(.*\) is being used more than once in the network.*; use"
    ):
        LRP(Twice()).attribute(images().float(), 0)


def test_a_model_that_is_no_module_of_layers_is_named() -> None:
    class Bare(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.amax((2, 3))

    with pytest.raises(ValueError, match="this Bare: Captum has no rule for what it calls, which is no layer"):
        LRP(Bare()).attribute(images(), 0)


def test_outputs_that_are_always_zero_cannot_be_tried() -> None:
    dead = nn.Conv2d(3, 2, 3)
    nn.init.zeros_(dead.weight)
    model = nn.Sequential(dead, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ValueError, match=r"cannot be tested on this Sequential: .* all outputs are 0"):
        LRP(model).attribute(images().float(), 0)


def test_noise_that_gives_zero_is_passed_over() -> None:
    class Doubled(nn.Sequential):
        def forward(self, images: Tensor) -> Tensor:
            x = super().forward(images)
            return (x + x.clone()).clamp(min=0)

    for seed in range(20):
        torch.manual_seed(seed)
        model = Doubled(nn.Conv2d(3, 1, 10), nn.Flatten())
        with pytest.raises(ValueError, match="relevance sums to"):  # 0 = 0 would let it pass on half of the noise
            LRP(model).attribute(images().float(), 0)


def test_a_relu_at_the_end_is_tried_on_logits_that_are_not_zero() -> None:
    for seed in range(20):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Conv2d(3, 1, 10), nn.ReLU(), nn.Flatten())
        x = images(4).float()
        actual = LRP(model).attribute(x, 0)
        torch.testing.assert_close(actual, Saliency(model, absolute=False).attribute(x, 0) * x, rtol=1e-3, atol=1e-5)


def test_it_is_tried_once_an_instance() -> None:
    model, calls = vgg_net(), []
    model.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    explainer, counts = LRP(model), []
    for _ in range(3):
        explainer.attribute(images().float(), 1)
        counts.append(len(calls))
        calls.clear()
    assert counts[0] > counts[1] == counts[2] == 3  # classes, Captum's two passes
