"""Heatmaps of filters of several layers from one forward pass, against one attribution after the other."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models import ConvNeXt, VisionTransformer
from torchvision.models.convnext import CNBlockConfig

from vitrine.attribution import Deconvnet, GuidedBackprop
from vitrine.backbones.taps import captured
from vitrine.filters.heatmaps import Filter, FilterVisualizer, check_filters, filter_heatmaps
from vitrine.filters.layers import response_layers


class Branches(nn.Module):
    """In-place ReLUs, strides, pooling, a skip connection and fully connected layers, in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
        self.pool = nn.MaxPool2d(2)
        self.left, self.right = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 1)
        self.hidden, self.classifier = nn.Linear(6, 7), nn.Linear(7, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.stem(x))
        x = F.relu(self.left(x) + self.right(x), inplace=True)
        logits: Tensor = self.classifier(F.relu(self.hidden(x.mean(dim=(2, 3))), inplace=True))
        return logits


WIDTHS = {"stem.0": 6, "stem.1": 6, "stem": 6, "pool": 6, "left": 6, "right": 6, "hidden": 7, "classifier": 4}
ROWS: list[list[Filter]] = [
    [("stem.0", 1), ("left", 5), ("left", 0), ("hidden", 3)],
    [("left", 2), ("left", 2), ("left", 3), ("left", 2)],
    [("classifier", 0), ("stem.1", 0), ("stem", 4), ("pool", 4)],
]


@pytest.fixture
def model() -> Branches:
    torch.manual_seed(0)
    network = Branches().double()
    network.get_buffer("stem.1.running_var").uniform_(0.5, 2.0)
    return network.eval()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(3, 3, 14, 14, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def one_by_one(method: Deconvnet, images: Tensor, filters: Sequence[Sequence[Filter]]) -> Tensor:
    """A method for each layer, a call for each image and filter."""
    options: dict[str, Any] = {"start": method.start}
    rows = []
    for image, row in zip(images, filters, strict=True):
        maps = []
        for layer, channel in row:
            single = type(method)(method.model, layer, **options)
            single.strided_rules = method.strided_rules
            maps.append(single.attribute(image[None], channel=channel)[0])
        rows.append(torch.stack(maps))
    return torch.stack(rows)


@pytest.mark.parametrize("options", [{}, {"stride_one": True}, {"stride_one": True, "pooling": "resampled"},
                                     {"start": "maximum"}])  # fmt: skip
@pytest.mark.parametrize("kind", [Deconvnet, GuidedBackprop])
def test_equal_to_one_after_the_other(
    model: Branches, images: Tensor, kind: type[Deconvnet], options: dict[str, Any]
) -> None:
    method = kind(model, **options)
    expected = one_by_one(method, images, ROWS)
    assert (expected.abs().amax(dim=(2, 3, 4)) > 0).sum() >= 10
    torch.testing.assert_close(filter_heatmaps(method, images, ROWS), expected)


@settings(max_examples=25)
@given(data=st.data(), count=st.integers(1, 4), width=st.integers(1, 5))
def test_any_filters_of_any_images(data: st.DataObject, count: int, width: int) -> None:
    torch.manual_seed(count)
    network, batch = Branches().double().eval(), torch.randn(count, 3, 8, 8, dtype=torch.float64)
    one = st.sampled_from(sorted(WIDTHS)).flatmap(
        lambda layer: st.tuples(st.just(layer), st.integers(0, WIDTHS[layer] - 1))
    )
    filters = data.draw(st.lists(st.lists(one, min_size=width, max_size=width), min_size=count, max_size=count))
    method = GuidedBackprop(network)
    torch.testing.assert_close(filter_heatmaps(method, batch, filters), one_by_one(method, batch, filters))


def test_one_forward_pass_for_all(model: Branches, images: Tensor) -> None:
    calls = []
    hook = model.register_forward_hook(lambda *_: calls.append(1))
    filter_heatmaps(GuidedBackprop(model), images, ROWS)
    hook.remove()
    assert len(calls) == 1


def test_an_image_does_not_depend_on_its_batch(model: Branches, images: Tensor) -> None:
    method = GuidedBackprop(model, stride_one=True)
    together = filter_heatmaps(method, images, ROWS)
    for number in range(3):
        alone = filter_heatmaps(method, images[number : number + 1], ROWS[number : number + 1])
        torch.testing.assert_close(alone[0], together[number])
    turned = filter_heatmaps(method, images.flip(0), ROWS[::-1])
    torch.testing.assert_close(turned.flip(0), together)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_the_same_whatever_mode_it_is_called_in(model: Branches, images: Tensor, mode: Any) -> None:
    expected = filter_heatmaps(GuidedBackprop(model), images, ROWS)
    with mode():
        found = filter_heatmaps(GuidedBackprop(model), images + 0, ROWS)
    assert not found.requires_grad
    assert torch.equal(found, expected)


class AboveFloor(GuidedBackprop):
    """Starts from what stands out above a floor."""

    floor = 0.0

    def cotangent(self, output: Tensor, indices: Tensor) -> Tensor:
        return super().cotangent((output - self.floor).clamp(min=0) if output.ndim > 2 else output, indices)


def test_a_map_starts_from_what_stands_out_above_its_threshold(model: Branches, images: Tensor) -> None:
    """Each image's and each filter's own; fully connected layers have no threshold."""
    thresholds = torch.tensor([[0.3, 0.1, -0.2, 9.0], [0.0, 0.2, 0.1, 9.0], [9.0, 0.4, 0.2, 0.1]], dtype=torch.float64)
    found = filter_heatmaps(GuidedBackprop(model), images, ROWS, thresholds=thresholds)
    for number, row in enumerate(ROWS):
        for place, (layer, channel) in enumerate(row):
            method = AboveFloor(model, layer)
            method.floor = float(thresholds[number, place])
            expected = method.attribute(images[number : number + 1], channel=channel)[0]
            torch.testing.assert_close(found[number, place], expected)
    assert not found[1, 3].any()
    plain = filter_heatmaps(GuidedBackprop(model), images, ROWS)
    assert torch.equal(found[0, 3], plain[0, 3])
    assert torch.equal(found[2, 0], plain[2, 0])


class LastToFirst(nn.Module):
    """Channels before places."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(self.axis, 1)


class FirstToLast(LastToFirst):
    """Back to where they were."""

    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(1, self.axis)


def with_channels_first(model: nn.Module, layer: str, axis: int) -> tuple[nn.Module, str]:
    """A copy of the model in which the layer's output passes a submodule with its channels along dimension 1."""
    rewritten = copy.deepcopy(model)
    inner = rewritten.get_submodule(layer)
    rewritten.set_submodule(layer, nn.Sequential(inner, LastToFirst(axis), nn.Identity(), FirstToLast(axis)))
    return rewritten, f"{layer}.2"


def tiny_convnext() -> nn.Module:
    return ConvNeXt([CNBlockConfig(8, 12, 1), CNBlockConfig(12, None, 1)], num_classes=3)


def tiny_vit() -> nn.Module:
    vit = VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=12, mlp_dim=20, num_classes=3
    )
    nn.init.normal_(vit.heads.head.weight)  # zeros at first
    return vit


@pytest.mark.parametrize(
    ("make", "wanted"),
    [(tiny_convnext, {1, 3}), (tiny_vit, {1, 2})],
    ids=["channels-last maps", "tokens"],
)
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad])
def test_channels_along_another_axis(make: Any, wanted: set[int], mode: Any) -> None:
    torch.manual_seed(0)
    network = make().double().eval()
    layers = response_layers(network, 32, tokens="together")
    drawn = [layer for layer in layers if layer.kind == "linear" or layer.axis == 1]
    axes = {layer.name: layer.axis for layer in drawn}
    assert set(axes.values()) == wanted
    widths = {layer.name: layer.width for layer in layers}
    batch = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    rows = [[(name, number % widths[name]) for name in axes] for number in (0, 5)]
    with mode():
        found = filter_heatmaps(
            GuidedBackprop(network), batch, rows, {layer.name: layer.filters_first for layer in drawn}
        )
    for column, (name, axis) in enumerate(axes.items()):
        rewritten, tap = with_channels_first(network, name, axis)
        expected = GuidedBackprop(rewritten, tap).attribute(batch, channel=[row[column][1] for row in rows])
        torch.testing.assert_close(found[:, column], expected)
    assert (found.abs().amax(dim=(2, 3, 4)) > 0).all()


def test_tokens_are_drawn_apart_from_one_another() -> None:
    torch.manual_seed(0)
    network, block = tiny_vit().double().eval(), "encoder.layers.encoder_layer_0"
    batch = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    layers = response_layers(network, 32, [f"{block}.ln_1", f"{block}.ln_1[0]", f"{block}.mlp", f"{block}.mlp[0]"])
    views = {layer.name: layer.filters_first for layer in layers}
    maps = filter_heatmaps(GuidedBackprop(network), batch, [[(layer.name, 5) for layer in layers]] * 2, views)
    drawn = maps.abs().amax(dim=(2, 3, 4)) > 0
    # Before the first attention, the class token knows nothing of the image.
    assert drawn.tolist() == [[True, False, True, True]] * 2
    activations = FilterVisualizer(network, layers).activations(batch, [[(layer.name, 5) for layer in layers]] * 2)
    with captured(network, [f"{block}.mlp"]) as outputs, torch.no_grad():
        network(batch)
    grid = outputs[f"{block}.mlp"][:, 1:, 5].unflatten(1, (4, 4))
    torch.testing.assert_close(activations[:, 2], F.interpolate(grid[:, None], (32, 32), mode="bilinear")[:, 0])
    assert not activations[:, 1].any()
    assert not activations[:, 3].any()


def test_a_filter_that_answers_nothing_has_a_heatmap_of_zeros(model: Branches, images: Tensor) -> None:
    model.get_parameter("left.weight").data[2] = 0
    model.get_parameter("left.bias").data[2] = 0
    maps = filter_heatmaps(GuidedBackprop(model), images[:1], [[("left", 2), ("left", 3)]])
    assert not maps[0, 0].any()
    assert maps[0, 1].any()


def state_of(model: nn.Module) -> list[Any]:
    tensors = [*model.parameters(), *model.buffers()]
    hooks = [(dict(m._forward_hooks), dict(m._forward_pre_hooks), dict(m._backward_hooks)) for m in model.modules()]
    return [
        [t.detach().clone() for t in tensors],
        [(t.requires_grad, t.grad) for t in tensors],
        [m.training for m in model.modules()],
        hooks,
        torch.get_rng_state(),
    ]


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def test_the_model_and_the_images_stay_as_they_were(model: Branches, images: Tensor) -> None:
    """Also a model that is being trained, and after an error."""
    model.train()
    model.get_submodule("pool").eval()
    next(model.parameters()).requires_grad = False
    model.left.weight.grad = torch.ones_like(model.left.weight)
    before, pixels = state_of(model), images.clone()
    found = filter_heatmaps(GuidedBackprop(model), images, ROWS)
    assert same(before, state_of(model))
    with pytest.raises(ValueError, match="channels 0 to 5"):
        filter_heatmaps(GuidedBackprop(model), images, [[("left", 6)]] * 3)
    assert same(before, state_of(model))
    assert torch.equal(images, pixels)
    assert images.grad is None
    assert torch.equal(found, filter_heatmaps(GuidedBackprop(model.eval()), images, ROWS))


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ([[("left", 0)]] * 2, "filters must be 3 lists of equal length"),
        ([[("left", 0)], [("left", 0)], []], "filters must be 3 lists of equal length"),
        ([[("left", 7)]] * 3, "Layer 'left' has channels 0 to 5, not 7"),
        ([[("left", -1)]] * 3, "Layer 'left' has channels 0 to 5, not -1"),
        ([[("lefd", 0)]] * 3, "no layer 'lefd'; near names: left"),
    ],
)
def test_what_is_asked_wrongly_is_told(model: Branches, images: Tensor, filters: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        filter_heatmaps(GuidedBackprop(model), images, filters)


def test_a_model_without_rectifiers_is_refused(images: Tensor) -> None:
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sigmoid(), nn.Flatten(), nn.LazyLinear(2)).double()
    plain(images)
    with pytest.raises(ValueError, match="GuidedBackprop met no ReLU"):
        filter_heatmaps(GuidedBackprop(plain), images, [[("0", 0)]] * 3)


def test_filters_are_tried_without_being_drawn(model: Branches, images: Tensor) -> None:
    """Refused is what cannot be drawn, as in drawing."""
    layers = response_layers(model, 14)
    check_filters(GuidedBackprop(model, stride_one=True), images[:1], layers)
    linear = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2)).double()
    of_linear = response_layers(linear, 3)
    for refuse in (
        lambda: check_filters(GuidedBackprop(linear), images[:1, :, :3, :3], of_linear),
        lambda: filter_heatmaps(GuidedBackprop(linear), images[:1, :, :3, :3], [[("0", 0)]]),
    ):
        with pytest.raises(ValueError, match="no ReLU"):
            refuse()
