"""The method as a whole: mass, contrast, layers, targets, precision, in-place spellings, and a model left as it was."""

import copy
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.helpers.excitation_models import small_net
from vitrine.attribution import ExcitationBackprop, excitation_maps
from vitrine.attribution.excitation.linear_rules import NegativeActivations


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


class Everything(nn.Module):
    """Cats, residuals, a squeeze-and-excitation gate, pools and global pooling, without biases."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.branches = nn.ModuleList(nn.Conv2d(6, 6, k, padding=k // 2, groups=2, bias=False) for k in (1, 3))
        self.squeeze = nn.Conv2d(12, 4, 1, bias=False)
        self.excite = nn.Conv2d(4, 12, 1, bias=False)
        self.body = nn.Conv2d(12, 12, 3, padding=1, bias=False)
        self.head = nn.Linear(12, 5, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.stem(images)), 2)
        x = torch.cat([F.relu(branch(x), inplace=True) for branch in self.branches], dim=1)
        x = x * self.excite(F.silu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))).sigmoid()
        y = self.body(x)
        y += x
        y = F.avg_pool2d(F.relu6(y), 2)
        logits: Tensor = self.head(F.interpolate(y, scale_factor=2, mode="bilinear").mean((2, 3)))
        return logits


def explained(method: ExcitationBackprop, x: Tensor, index: int) -> Tensor:
    """The map of a class, or of a channel where the method has a layer."""
    return method.attribute(x, index) if method.layer is None else method.attribute(x, channel=index)


def test_mass_is_one_without_biases_and_negative_weights() -> None:
    model = Everything()
    for parameter in model.parameters():
        parameter.data.abs_()
    for treatment in ("clamp", "raw", "zplus"):
        maps = ExcitationBackprop(model, negative_activations=treatment).attribute(torch.rand(3, 3, 8, 8), [0, 4, 2])
        assert maps.shape == (3, 1, 8, 8)
        assert maps.min() >= 0
        torch.testing.assert_close(maps.sum((1, 2, 3)), torch.ones(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("pixels", "lost"),
    [([2.0, -0.5], [0.0, 0.0, 1.0]), ([-2.0, 2.0], [0.0, 0.0, 1.0]), ([-2.0, -2.0], [1.0, 1.0, 1.0])],
)
def test_lost_mass_is_reported_map_by_map(pixels: list[float], lost: list[float]) -> None:
    """None is lost where something positive feeds an output by positive weights, all where nothing does."""
    layers = nn.Linear(2, 2, bias=False), nn.Linear(2, 3, bias=False)
    layers[0].weight.data = torch.tensor([[1.0, 0.0], [1.0, 2.0]])
    layers[1].weight.data = torch.tensor([[1.0, 1.0], [0.0, 1.0], [-1.0, -1.0]])
    method = ExcitationBackprop(nn.Sequential(nn.Flatten(), *layers))
    maps = method.attribute(torch.tensor(pixels).view(1, 1, 1, 2), torch.tensor([[0, 1, 2]]))
    torch.testing.assert_close(method.mass_lost(maps), torch.tensor([lost]))


def naive_mlp(weights: list[Tensor], x: Tensor, index: int) -> Tensor:
    """MWP of a ReLU net of linear layers, from the equation."""
    activations = [x]
    for weight in weights:
        activations.append((weight @ activations[-1]).clamp(min=0))
    mass = F.one_hot(torch.tensor(index), len(weights[-1])).to(x)
    for weight, a in zip(weights[::-1], activations[-2::-1], strict=True):
        up = weight.clamp(min=0)
        mass = a * (up.T @ torch.where(up @ a > 0, mass / (up @ a), 0))
    return mass


@pytest.mark.parametrize("index", [0, 1])
def test_several_layers_give_the_equation(index: int) -> None:
    weights = [torch.randn(n, m, dtype=torch.float64) for m, n in [(12, 9), (9, 8), (8, 2)]]
    layers: list[nn.Module] = [nn.Flatten()]
    for weight in weights:
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=torch.float64)
        layer.weight.data = weight
        layers += [layer, nn.ReLU()]
    x = torch.rand(1, 1, 3, 4, dtype=torch.float64)
    actual = ExcitationBackprop(nn.Sequential(*layers[:-1])).attribute(x, index)
    torch.testing.assert_close(actual.flatten(), naive_mlp(weights, x.flatten(), index))
    # c-MWP: the same net with its last weights negated, taken off
    dual = [*weights[:-1], -weights[-1]]
    actual = ExcitationBackprop(nn.Sequential(*layers[:-1]), contrastive=True).attribute(x, index)
    expected = naive_mlp(weights, x.flatten(), index) - naive_mlp(dual, x.flatten(), index)
    torch.testing.assert_close(actual.flatten(), expected)


@pytest.mark.parametrize("treatment", ["clamp", "raw", "zplus"])
@pytest.mark.parametrize(("layer", "negated", "target"), [(None, 10, 3), ("9", 8, 2), ("6", 4, 5), ("5", 4, 5)])
def test_contrastive_equals_the_long_way(
    treatment: NegativeActivations, layer: str | None, negated: int, target: int
) -> None:
    model, x = small_net().double(), torch.rand(2, 3, 8, 8, dtype=torch.float64)
    dual = copy.deepcopy(model)
    dual.get_parameter(f"{negated}.weight").data.neg_()
    if (
        isinstance(layer, str) and int(layer) < 7
    ):  # the channel's start depends on its activations: take the first net's
        mass = [start_at_channel(net, int(layer), x, target, model, treatment) for net in (model, dual)]
    else:
        mass = [
            explained(ExcitationBackprop(net, layer, negative_activations=treatment), x, target)
            for net in (model, dual)
        ]
    actual = explained(ExcitationBackprop(model, layer, contrastive=True, negative_activations=treatment), x, target)
    torch.testing.assert_close(actual, mass[0] - mass[1])
    assert actual.abs().sum() > 0.01


def start_at_channel(
    net: nn.Sequential, layer: int, x: Tensor, channel: int, seeded_by: nn.Sequential, treatment: NegativeActivations
) -> Tensor:
    """Mass of all places of a channel, each weighted by its share of the channel's activation in ``seeded_by``."""
    lower = net[: layer + 1].eval()
    with torch.no_grad():
        start = seeded_by[: layer + 1].eval()(x)[:, channel].clamp(min=0).flatten(1)
    size = start.shape[1]
    indices = torch.arange(channel * size, (channel + 1) * size).expand(len(x), -1)
    maps, _ = excitation_maps(
        lambda images: lower(images).flatten(1), x, indices, contrastive=False, negative_activations=treatment
    )
    weights = start / start.sum(1, keepdim=True).clamp(min=1e-300)
    return torch.einsum("bk,bkhw->bhw", weights, maps)[:, None]


def test_a_layer_reached_first_and_again_below_another_is_plain_for_contrast() -> None:
    lower, upper = nn.Linear(4, 3, bias=False), nn.Linear(3, 3, bias=False)
    for layer in (lower, upper):
        layer.double().weight.data.normal_()

    def forward(images: Tensor) -> Tensor:
        y = lower(images.flatten(1))
        return y + upper(y)

    x = torch.rand(1, 1, 2, 2, dtype=torch.float64)
    actual = excitation_maps(forward, x, torch.tensor([[0, 1, 2]]), contrastive=True)[0].flatten(2)[0]
    y = lower(x.flatten())
    z, up, low = upper(y), upper.weight, lower.weight.clamp(min=0)
    for index in range(3):
        parts = torch.stack([y[index], z[index]]).clamp(min=0)
        shares = parts / parts.sum() if parts.sum() > 0 else parts
        plus, minus = (w.clamp(min=0)[index] * y.clamp(min=0) for w in (up, -up))
        mass = shares[1] * (plus / plus.sum().clamp(min=1e-300) - minus / minus.sum().clamp(min=1e-300))
        mass[index] += shares[0]
        sums = low @ x.flatten()
        expected = x.flatten() * (low.T @ torch.where(sums > 0, mass / sums, 0))
        torch.testing.assert_close(actual[index], expected)


def test_a_channel_starts_in_proportion_to_its_positive_activations() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8, 1))
    model[0].weight.data = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
    x = torch.tensor([3.0, 1.0, 0.0, -2.0]).view(1, 1, 2, 2)
    for layer in ("0", model[0], "1"):
        actual = ExcitationBackprop(model, layer).attribute(x, channel=0)
        torch.testing.assert_close(actual.flatten(), torch.tensor([0.75, 0.25, 0.0, 0.0]))
    assert ExcitationBackprop(model, "1").attribute(x.abs(), channel=1).abs().sum() == 0


def test_the_whole_model_as_a_layer_is_the_model() -> None:
    model, x = small_net(), torch.rand(2, 3, 8, 8)
    expected = ExcitationBackprop(model).attribute(x, 1)
    torch.testing.assert_close(ExcitationBackprop(model, "10").attribute(x, channel=1), expected)


@pytest.mark.parametrize("contrastive", [False, True])
def test_batched_equals_one_by_one(contrastive: bool) -> None:
    model, x, targets = small_net().double(), torch.rand(3, 3, 8, 8, dtype=torch.float64), [2, 0, 3]
    for layer in (None, "6"):
        method = ExcitationBackprop(model, layer, contrastive=contrastive)
        explained_by = "target" if layer is None else "channel"
        singly = torch.cat(
            [method.attribute(x[i : i + 1], **dict[str, Any]({explained_by: targets[i]})) for i in range(3)]
        )
        for arguments in (targets, torch.tensor(targets)):
            torch.testing.assert_close(method.attribute(x, **dict[str, Any]({explained_by: arguments})), singly)


class Spelled(nn.Module):
    """One net in several spellings."""

    def __init__(self, first: nn.Conv2d, second: nn.Conv2d, spelling: str) -> None:
        super().__init__()
        self.first, self.second, self.spelling = first, second, spelling
        self.relu = nn.ReLU(inplace=spelling == "in place")

    def activate(self, x: Tensor) -> Tensor:
        if self.spelling == "statement":
            x.relu_()
            return x
        if self.spelling == "method":
            return x.relu_()
        activated: Tensor = F.relu(x) if self.spelling == "functional" else self.relu(x)
        return activated

    def forward(self, images: Tensor) -> Tensor:
        x = self.activate(self.first(images))
        y = self.second(x)
        if self.spelling == "statement":
            y.add_(x)
        elif self.spelling == "in place":
            y += x
        else:
            y = y + x
        y = self.activate(y)
        return y.mean((2, 3))


def test_all_spellings_of_a_net_give_the_same() -> None:
    first, second = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 5, 3, padding=1)
    x = torch.rand(2, 3, 8, 8)
    spellings = ["module", "in place", "functional", "method", "statement"]
    for contrastive in (False, True):
        maps = [
            ExcitationBackprop(Spelled(first, second, spelling), contrastive=contrastive).attribute(x, 1)
            for spelling in spellings
        ]
        assert maps[0].abs().sum() > 0.01
        for other in maps[1:]:
            torch.testing.assert_close(other, maps[0])


def test_an_input_that_the_model_changes_in_place_stays_as_it_is() -> None:
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(4, 2))
    x = torch.randn(1, 1, 2, 2)
    before = x.clone()
    ExcitationBackprop(model).attribute(x, 0)
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    "context",
    [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16), nullcontext],
)
def test_the_surroundings_change_nothing(context: Callable[[], AbstractContextManager[Any]]) -> None:
    model = small_net()
    x = torch.rand(2, 3, 8, 8)
    expected = ExcitationBackprop(model, contrastive=True).attribute(x, 1)
    with context():
        actual = ExcitationBackprop(model, contrastive=True).attribute(x + 0, 1)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, expected)


class AutocastWithin(nn.Sequential):
    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            output: Tensor = super().forward(images)
        return output


def test_autocast_within_the_model_changes_nothing() -> None:
    model, x = small_net(), torch.rand(2, 3, 8, 8)
    expected = ExcitationBackprop(model).attribute(x, 1)
    torch.testing.assert_close(ExcitationBackprop(AutocastWithin(*model)).attribute(x, 1), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_inputs_and_half_models_are_computed_in_float32(dtype: torch.dtype) -> None:
    model, x = small_net().to(dtype), torch.rand(2, 3, 8, 8).to(dtype)
    expected = ExcitationBackprop(copy.deepcopy(model).float()).attribute(x.float(), 1)
    actual = ExcitationBackprop(model).attribute(x, 1)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, expected)


def test_a_net_in_train_mode_comes_back_in_it_with_the_same_statistics() -> None:
    model, x = small_net().train(), torch.rand(2, 3, 8, 8)
    state = copy.deepcopy(model.state_dict())
    actual = ExcitationBackprop(model).attribute(x, 0)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    torch.testing.assert_close(actual, ExcitationBackprop(model.eval()).attribute(x, 0))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (4, "target 4 is out of range: the explained output has indices 0 to 3"),
        ([0, -1], "target -1 is out of range"),
        ([0, 1, 2], "one for each of the 2 inputs, or (2, K), got (3,)"),
        (torch.tensor([0.5, 1]), "integer indices, got torch.float32"),
    ],
)
def test_a_target_that_does_not_exist_is_named(target: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        ExcitationBackprop(small_net()).attribute(torch.rand(2, 3, 8, 8), target)


class Detecting(nn.Module):
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"boxes": images}


def test_an_output_that_is_no_tensor_is_named() -> None:
    with pytest.raises(ValueError, match="output of the model is a dict"):
        ExcitationBackprop(Detecting()).attribute(torch.rand(1, 3, 2, 2), 0)
