"""Deconvnet and guided backprop against Captum, against rewritten models, and against the layers' Jacobians."""

import copy
import itertools
from collections.abc import Callable
from typing import Any

import captum.attr
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models import get_model

from vitrine.attribution import Deconvnet, GuidedBackprop

METHODS = {
    "GuidedBackprop": (GuidedBackprop, captum.attr.GuidedBackprop),
    "Deconvnet": (Deconvnet, captum.attr.Deconvolution),
}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def closest(actual: Tensor, expected: Tensor) -> None:
    """Equal to 1e-5 of the largest value."""
    assert expected.abs().max() > 0
    torch.testing.assert_close(actual, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("network", ["vgg11_bn", "resnet18", "squeezenet1_0"])
def test_networks_with_relu_modules_give_what_captum_gives(network: str, name: str) -> None:
    ours, theirs = METHODS[name]
    model = get_model(network, weights=None, num_classes=10).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
    x = torch.randn(2, 3, 64, 64)
    target = model(x).argmax(dim=1)
    expected = theirs(copy.deepcopy(model)).attribute(x.clone(), target=target)
    closest(ours(model).attribute(x, target), expected)


class ReLU6Module(nn.ReLU):
    """Bounded, and a ReLU to whoever looks for modules."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(0, 6)


class Net(nn.Module):
    """Convolutions with a rectifier of choice after each, the same one every time."""

    def __init__(self, rectify: Callable[[Tensor], Tensor], *, modules: type[nn.ReLU] | None = None) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in [(3, 8), (8, 8), (8, 8)])
        self.head = nn.Linear(8, 4)
        self.rectify = rectify
        self.modules_of_each = nn.ModuleList(modules() for _ in range(3)) if modules else None

    def forward(self, x: Tensor) -> Tensor:
        for number, convolution in enumerate(self.convolutions):
            x = 4 * convolution(x)
            x = self.modules_of_each[number](x) if self.modules_of_each is not None else self.rectify(x)
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


SPELLINGS: dict[str, tuple[Callable[[Tensor], Tensor], type[nn.ReLU]]] = {
    "F.relu": (F.relu, nn.ReLU),
    "F.relu in place": (lambda x: F.relu(x, inplace=True), nn.ReLU),
    "relu_": (lambda x: x.relu_(), nn.ReLU),
    "torch.relu": (torch.relu, nn.ReLU),
    "clamp": (lambda x: x.clamp(min=0), nn.ReLU),
    "one module reused": (nn.ReLU(inplace=True), nn.ReLU),
    "relu6": (F.relu6, ReLU6Module),
    "relu6 in place": (nn.ReLU6(inplace=True), ReLU6Module),
    "hardtanh": (lambda x: F.hardtanh(x, 0.0, 6.0), ReLU6Module),
    "in place on a permuted view": (lambda x: (F.relu_(x.permute(0, 2, 3, 1)), x)[1], nn.ReLU),
    "in place on the base of a view": (lambda x: (x.flatten(1), F.relu_(x))[0].view_as(x), nn.ReLU),
    "maximum": (lambda x: torch.maximum(x, torch.zeros(8, 1, 1)), nn.ReLU),
    "operator of the dispatcher": (torch.ops.aten.relu.default, nn.ReLU),
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_right_where_hooks_on_modules_are_wrong(spelling: str, name: str) -> None:
    """Equal to Captum on the model rewritten with a module for each ReLU; Captum on the model itself is wrong."""
    rectify, module = SPELLINGS[spelling]
    ours, theirs = METHODS[name]
    rewritten = Net(rectify, modules=module).eval()
    model = Net(rectify).eval()
    model.load_state_dict(rewritten.state_dict(), strict=False)
    x = 2 * torch.randn(2, 3, 9, 9)
    expected = theirs(rewritten).attribute(x.clone(), target=1)
    closest(ours(model).attribute(x, 1), expected)
    plain = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(plain)[:, 1].sum(), plain)
    assert (gradient - expected).abs().max() > 1e-2 * expected.abs().max()


@pytest.mark.parametrize("function", [F.gelu, F.silu, F.mish, F.hardswish, F.elu, F.softplus, F.leaky_relu])
def test_smooth_rectifiers_keep_their_slope_and_pass_positive_signals(function: Callable[[Tensor], Tensor]) -> None:
    first, second = (torch.randn(n, m, dtype=torch.float64) for n, m in [(6, 12), (3, 6)])
    x = torch.randn(1, 3, 2, 2, dtype=torch.float64)

    class Mlp(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x.flatten(1) @ first.T) @ second.T

    hidden = (x.flatten(1) @ first.T).requires_grad_()
    (slope,) = torch.autograd.grad(function(hidden).sum(), hidden)
    positive = second[1].clamp(min=0)
    torch.testing.assert_close(GuidedBackprop(Mlp()).attribute(x, 1).flatten(), (positive * slope[0]) @ first)
    torch.testing.assert_close(Deconvnet(Mlp()).attribute(x, 1).flatten(), positive @ first)


def test_a_model_without_rectifiers_is_refused() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sigmoid(), nn.Flatten(), nn.Linear(16, 2))
    for method in (Deconvnet, GuidedBackprop):
        with pytest.raises(ValueError, match="met no ReLU or other rectifier in Sequential"):
            method(model).attribute(torch.rand(1, 3, 4, 4), 0)


@pytest.mark.parametrize("method", [Deconvnet, GuidedBackprop])
def test_a_rectifier_that_is_not_recognised_is_refused_beside_one_that_is(method: type[Deconvnet]) -> None:
    model = Net(lambda x: F.relu(torch.where(x > 0, x, 0)))
    with pytest.raises(ValueError, match=rf"{method.__name__} has no rule for torch\.where .* torch\.nn\.functional"):
        method(model).attribute(torch.randn(1, 3, 9, 9), 1)


def test_a_clamp_that_is_no_rectifier_is_not_taken_for_one() -> None:
    class Clamped(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.clamp(-1, 1).flatten(1)

    with pytest.raises(ValueError, match="met no ReLU"):
        Deconvnet(Clamped()).attribute(torch.rand(1, 3, 4, 4), 0)


# From a filter


def strided_net() -> nn.Sequential:
    """Layers 0 to 4 are spatial."""
    layers = [nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(6, 5, 3, padding=1)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(45, 4)).double()


def out_of_place(model: nn.Sequential) -> None:
    """Hooks on modules need ReLUs that are not in place."""
    for module in model:
        if isinstance(module, nn.ReLU):
            module.inplace = False


@pytest.mark.parametrize("layer", ["0", "3", "4"])
def test_a_filter_starts_from_its_own_activation_map(layer: str) -> None:
    model, x = strided_net(), torch.randn(2, 3, 14, 14, dtype=torch.float64)
    part = model[: int(layer) + 1]
    pixels = x.clone().requires_grad_()
    activation = part(pixels)[:, 2]

    def clamp(_module: nn.Module, gradients: Any, _outputs: Any) -> Any:
        return (gradients[0].clamp(min=0),)

    hooks = [module.register_full_backward_hook(clamp) for module in part if isinstance(module, nn.ReLU)]
    out_of_place(part)
    (expected,) = torch.autograd.grad(part(pixels)[:, 2], pixels, activation.detach())
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(GuidedBackprop(model, layer).attribute(x, channel=2), expected)
    by_module = GuidedBackprop(model, model.get_submodule(layer)).attribute(x, channel=2)
    torch.testing.assert_close(by_module, expected)


def test_a_filter_started_at_its_maximum_is_captums_neuron() -> None:
    model, x = strided_net(), torch.randn(1, 3, 14, 14, dtype=torch.float64)
    place = divmod(int(model[:4](x)[0, 2].argmax()), 3)
    separate = copy.deepcopy(model)
    out_of_place(separate)
    theirs = captum.attr.NeuronGuidedBackprop(separate, separate[3])
    expected = theirs.attribute(x.clone(), (2, *place))
    torch.testing.assert_close(GuidedBackprop(model, "3", start="maximum").attribute(x, channel=2), expected)


def test_several_filters_cost_one_forward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, calls = strided_net(), torch.randn(2, 3, 14, 14, dtype=torch.float64), []
    channels = torch.tensor([[0, 3, 3], [1, 0, 2]])
    singly = [GuidedBackprop(model, "3").attribute(x, channel=column) for column in channels.unbind(1)]
    first = model[0]
    first.register_forward_hook(lambda *_: calls.append(1))
    actual = GuidedBackprop(model, "3").attribute(x, channel=channels)
    assert len(calls) == 1
    assert actual.shape == (2, 3, 3, 14, 14)
    torch.testing.assert_close(actual, torch.stack(singly, dim=1))


@pytest.mark.parametrize("options", [{}, {"stride_one": True}, {"stride_one": True, "pooling": "resampled"}])
@pytest.mark.parametrize("method", [Deconvnet, GuidedBackprop])
def test_batched_equals_one_by_one(method: type[Deconvnet], options: dict[str, Any]) -> None:
    model, x = strided_net(), torch.randn(5, 3, 14, 14, dtype=torch.float64)
    targets, channels = [0, 3, 1, 2, 2], [4, 0, 1, 2, 3]
    for size in (None, 1, 2):
        explainer = method(model, "3", internal_batch_size=size, **options)
        for name, indices in (("target", targets), ("channel", channels)):
            singly = torch.cat(
                [explainer.attribute(x[i : i + 1], **dict[str, Any]({name: indices[i]})) for i in range(5)]
            )
            torch.testing.assert_close(explainer.attribute(x, **dict[str, Any]({name: indices})), singly)
            torch.testing.assert_close(explainer.attribute(x, **dict[str, Any]({name: torch.tensor(indices)})), singly)


def test_the_predicted_class_is_explained_where_none_is_given() -> None:
    model, x = strided_net(), torch.randn(3, 3, 14, 14, dtype=torch.float64)
    expected = GuidedBackprop(model).attribute(x, model(x).argmax(dim=1))
    torch.testing.assert_close(GuidedBackprop(model).attribute(x), expected)
    with torch.inference_mode():
        torch.testing.assert_close(GuidedBackprop(model).attribute(x + 0), expected)


def test_what_is_asked_wrongly_is_told() -> None:
    model, x = strided_net(), torch.randn(2, 3, 14, 14, dtype=torch.float64)
    with pytest.raises(ValueError, match="channel 5 is out of range: the explained output has indices 0 to 4"):
        Deconvnet(model, "3").attribute(x, channel=5)
    with pytest.raises(ValueError, match="was given a channel but no layer"):
        Deconvnet(model).attribute(x, channel=5)
    with pytest.raises(ValueError, match="both a target and a channel"):
        Deconvnet(model, "3").attribute(x, target=1, channel=1)
    with pytest.raises(ValueError, match="start is 'sum'; give 'activation' or 'maximum'"):
        Deconvnet(model, start="sum")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="pooling is 'max'; give 'switches' or 'resampled'"):
        Deconvnet(model, stride_one=True, pooling="max")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="internal_batch_size is 0"):
        Deconvnet(model, internal_batch_size=0)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), width=st.integers(1, 5), depth=st.integers(1, 3))
def test_random_nets_equal_their_jacobians(seed: int, width: int, depth: int) -> None:
    """Rᵢ = J ᵀ Rᵢ₊₁ through each linear layer, and the rectifiers' rules by hand."""
    torch.manual_seed(seed)
    sizes = [3, *[width] * depth]
    convolutions = [nn.Conv2d(a, b, 3, padding=1).double() for a, b in itertools.pairwise(sizes)]
    layers = [layer for convolution in convolutions for layer in (convolution, nn.ReLU())]
    head = nn.Linear(width * 9, 2).double()
    model = nn.Sequential(*layers, nn.Flatten(), head)
    x = torch.randn(1, 3, 3, 3, dtype=torch.float64)
    before = [x]
    for layer in layers:
        before.append(layer(before[-1]))
    for method, gated in ((Deconvnet, False), (GuidedBackprop, True)):
        signal = head.weight[1].view_as(before[-1])
        for number in range(depth - 1, -1, -1):
            signal = signal.clamp(min=0) * ((before[2 * number + 1] > 0) if gated else 1)
            jacobian = torch.autograd.functional.jacobian(convolutions[number], before[2 * number])
            signal = torch.einsum("abcd,abcdefgh->efgh", signal, jacobian)
        torch.testing.assert_close(method(model).attribute(x, 1), signal)
