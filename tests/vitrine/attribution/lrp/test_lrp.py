"""LRP in closed form, where it must hold, and where it must be refused."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from vitrine.attribution.gradient.saliency import Saliency
from vitrine.attribution.lrp.lrp import LRP


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def images(batch: int = 2, size: int = 10) -> Tensor:
    return torch.randn(batch, 3, size, size, dtype=torch.float64)


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


def vgg_net(bias: bool = True) -> nn.Sequential:
    norm = nn.BatchNorm2d(6)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    if bias:
        norm.load_state_dict({"running_mean": torch.randn(6), "bias": torch.randn(6)}, strict=False)
    features = [nn.Conv2d(3, 6, 3, padding=1, bias=bias), norm, nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    features += [nn.Conv2d(6, 8, 3, bias=bias), nn.Identity(), nn.ReLU(inplace=True), nn.AvgPool2d(3), nn.Flatten()]
    head = [nn.Linear(8, 9, bias=bias), nn.Sequential(), nn.Tanh(), nn.Dropout(), nn.Linear(9, 5, bias=bias)]
    return nn.Sequential(*features, *head)


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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_propagated_in_float32(dtype: torch.dtype) -> None:
    model, x = vgg_net(), images().to(dtype)
    actual = LRP(model.to(dtype)).attribute(x, 1)
    assert actual.dtype == torch.float32
    expected = LRP(model.float()).attribute(x.float(), 1)
    torch.testing.assert_close(actual, expected)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(LRP(model).attribute(x.float(), 1), expected)
