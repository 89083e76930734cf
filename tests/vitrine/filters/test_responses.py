"""The responses x of section 3.1, against naive loops."""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import get_model

from vitrine.backbones.frozen import FrozenBackbone
from vitrine.data.an8flower.network import FlowerNet
from vitrine.data.feature_store import FeatureExtractor
from vitrine.filters.layers import ResponseLayer
from vitrine.filters.responses import FilterResponses


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


class Net(nn.Module):
    """In-place ReLUs with and without modules, a layer that runs twice, a residual sum that is written in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 5, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.norm = nn.BatchNorm2d(5)
        self.twice = nn.Conv2d(5, 5, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.hidden = nn.Linear(5, 7)
        self.last = nn.Linear(7, 4)

    def forward(self, image: Tensor) -> Tensor:
        x = self.relu(self.first(image))
        y = self.norm(x)
        y += x
        y = F.relu(self.twice(y), inplace=True)
        y = self.pool(self.twice(y).relu_())
        return self.last(F.relu(self.hidden(y.mean(dim=(2, 3)))))


def recorded(net: Net, image: Tensor) -> dict[str, Tensor]:
    """What the layers of `Net` give for one image, by steps written out."""
    first = net.first(image[None])
    norm = net.norm(first.relu())
    middle = net.twice(norm + first.relu()).relu()
    twice = net.twice(middle)
    pool = F.max_pool2d(twice.relu(), 2)
    hidden = net.hidden(pool.mean(dim=(2, 3)))
    return {"first": first, "norm": norm, "twice": twice, "pool": pool, "hidden": hidden}


def naive(outputs: dict[str, Tensor], norm: str, normalization: str) -> list[float]:
    """X of one image in plain Python."""
    parts = []
    for output in outputs.values():
        part = []
        for channel in output[0].double():
            total = 0.0
            for value in channel.flatten().tolist():
                total += value**2
            part.append(total if norm == "squared" else total**0.5)
        parts.append(part)
    if normalization == "layer":
        return [value / (sum(part) or 1.0) for part in parts for value in part]
    x = [value for part in parts for value in part]
    length = sum(value**2 for value in x) ** 0.5
    return [value / length for value in x]


@pytest.mark.parametrize("norm", ["l2", "squared"])
@pytest.mark.parametrize("normalization", ["layer", "whole"])
def test_a_double_loop_gives_the_same(norm: Any, normalization: Any) -> None:
    net = Net().eval()
    net.norm.running_mean.uniform_(-0.5, 0.5)  # type: ignore[union-attr]
    responses = FilterResponses(FrozenBackbone(net), norm=norm, normalization=normalization, image_size=8)
    images = torch.randn(3, 3, 8, 8)
    with torch.no_grad():
        found = responses(images)
        expected = [naive(recorded(net, image), norm, normalization) for image in images]
        assert torch.equal(found["logits"], net(images))
    assert [layer.name for layer in responses.layers] == ["first", "norm", "twice", "pool", "hidden"]
    torch.testing.assert_close(found["features"], torch.tensor(expected), rtol=1e-5, atol=1e-7)
    assert found["features"].dtype == torch.float32


def test_what_is_normalised_sums_to_one() -> None:
    backbone, images = FrozenBackbone(Net()), torch.randn(3, 3, 8, 8)
    by_layer = FilterResponses(backbone, image_size=8)
    x = by_layer(images)["features"]
    for layer in by_layer.layers:
        torch.testing.assert_close(x[:, layer.start : layer.start + layer.width].sum(dim=1), torch.ones(3))
    whole = FilterResponses(backbone, normalization="whole", image_size=8)(images)["features"]
    torch.testing.assert_close(whole.norm(dim=1), torch.ones(3))
    assert bool((x >= 0).all())


@pytest.mark.parametrize("normalization", ["layer", "whole"])
def test_a_layer_of_zeros_stays_zero(normalization: Any) -> None:
    net = Net()
    nn.init.zeros_(net.first.weight)
    nn.init.zeros_(net.first.bias)  # type: ignore[arg-type]
    backbone = FrozenBackbone(net)
    responses = FilterResponses(backbone, ["first"], normalization=normalization, image_size=8)
    assert torch.equal(responses(torch.randn(2, 3, 8, 8))["features"], torch.zeros(2, 5))
    together = FilterResponses(backbone, ["first", "hidden"], normalization=normalization, image_size=8)
    x = together(torch.randn(2, 3, 8, 8))["features"]
    assert torch.equal(x[:, :5], torch.zeros(2, 5))
    assert bool((x[:, 5:] > 0).any())


NETWORKS: list[tuple[str, Callable[[], nn.Module]]] = [
    ("flowernet", FlowerNet),
    ("resnet18", lambda: get_model("resnet18", weights=None, num_classes=4)),
    ("convnext", lambda: timm.create_model("convnext_atto", num_classes=4)),
    ("vision transformer", lambda: timm.create_model("vit_tiny_patch16_224", img_size=64, depth=1, num_classes=4)),
    (
        "swin",
        lambda: timm.create_model("swin_tiny_patch4_window7_224", img_size=64, window_size=2, depths=(1, 1, 1, 1)),
    ),
]


@pytest.mark.parametrize("network", [network for _, network in NETWORKS], ids=[name for name, _ in NETWORKS])
def test_batched_equals_one_by_one(network: Callable[[], nn.Module]) -> None:
    responses = FilterResponses(FrozenBackbone(network()), image_size=64)
    images = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        together = responses(images)["features"]
        alone = torch.cat([responses(image[None])["features"] for image in images])
    assert together.shape == (3, responses.num_filters)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)


def test_maps_of_either_layout_and_tokens() -> None:
    class Permuted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 6, 3)
            self.norm = nn.LayerNorm(6)
            self.tokens = nn.Linear(6, 5)
            self.last = nn.Linear(5, 2)

        def forward(self, image: Tensor) -> Tensor:
            x = self.norm(self.conv(image).permute(0, 2, 3, 1))
            return self.last(self.tokens(x.flatten(1, 2)).mean(dim=1))

    net = Permuted()
    images = torch.randn(2, 3, 9, 12)
    found = FilterResponses(FrozenBackbone(net), image_size=9)(images)["features"]
    conv = net.conv(images)
    norm = net.norm(conv.permute(0, 2, 3, 1))
    tokens = net.tokens(norm.flatten(1, 2))
    parts = [conv.flatten(2).norm(dim=2), norm.flatten(1, 2).norm(dim=1), tokens.norm(dim=1)]
    torch.testing.assert_close(found, torch.cat([part / part.sum(dim=1, keepdim=True) for part in parts], dim=1))


def test_norms_are_taken_in_float32_under_autocast() -> None:
    """Of 65 536 entries: in bfloat16 a sum of squares would stop growing at 256."""

    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 1, bias=False)
            self.conv.weight.data = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])[:, :, None, None]
            self.last = nn.Linear(2, 3)

        def forward(self, image: Tensor) -> Tensor:
            return self.last(self.conv(image).mean(dim=(2, 3)))

    responses = FilterResponses(FrozenBackbone(Wide()), ["conv"], norm="squared", image_size=256)
    images = torch.ones(1, 3, 256, 256)
    images[:, 1, :100] = 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = responses(images)
    assert found["logits"].dtype == torch.bfloat16
    expected = torch.tensor([[256.0, 156.0]]) / 412
    assert found["features"].dtype == torch.float32
    torch.testing.assert_close(found["features"], expected, rtol=1e-6, atol=0)


def test_a_key_for_everything_that_changes_the_responses() -> None:
    net = Net()
    backbone = FrozenBackbone(net)
    other = Net()
    keys = [
        FilterResponses(backbone, image_size=8).key,
        FilterResponses(FrozenBackbone(other), image_size=8).key,
        FilterResponses(backbone, "conv", image_size=8).key,
        FilterResponses(backbone, ["first"], image_size=8).key,
        FilterResponses(backbone, norm="squared", image_size=8).key,
        FilterResponses(backbone, normalization="whole", image_size=8).key,
    ]
    assert len(set(keys)) == 6
    assert FilterResponses(FrozenBackbone(net), image_size=16).key == keys[0]
    extractor: FeatureExtractor = FilterResponses(backbone, image_size=8)
    assert extractor.key == keys[0]


def test_every_index_has_a_layer_and_a_channel() -> None:
    responses = FilterResponses(FrozenBackbone(Net()), image_size=8)
    assert responses.num_filters == 5 + 5 + 5 + 5 + 7
    assert responses.num_classes == 4
    found = [responses.filter_of(index) for index in range(responses.num_filters)]
    assert [layer.start + channel for layer, channel in found] == list(range(27))
    assert [(layer.name, channel) for layer, channel in found[14:16]] == [("twice", 4), ("pool", 0)]
    assert isinstance(found[0][0], ResponseLayer)
    assert responses.widths().tolist() == [5] * 20 + [7] * 7
    for index in (-1, 27):
        with pytest.raises(ValueError, match=f"filter {index} is out of range: x has filters 0 to 26"):
            responses.filter_of(index)


def test_the_model_is_left_as_it_was() -> None:
    backbone = FrozenBackbone(Net())
    model = backbone.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    responses = FilterResponses(backbone, image_size=8)
    model.train()
    responses(torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)))
    with pytest.raises(RuntimeError):
        responses(torch.zeros(2, 4, 8, 8))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(module.training and not module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_nothing_of_the_network_is_a_parameter() -> None:
    responses = FilterResponses(FrozenBackbone(Net()), image_size=8)
    assert list(responses.parameters()) == []
    assert all(not isinstance(value, Tensor) for value in responses.state_dict().values())


def test_gradients_flow_to_the_image() -> None:
    responses = FilterResponses(FrozenBackbone(Net()), image_size=8)
    images = torch.randn(1, 3, 8, 8, requires_grad=True)
    responses(images)["features"][0, 0].backward()
    assert images.grad is not None
    assert bool(images.grad.any())


def test_errors_say_what_is_wrong() -> None:
    backbone = FrozenBackbone(Net())
    with pytest.raises(ValueError, match="norm is 'l1'; give 'l2' or 'squared'"):
        FilterResponses(backbone, norm="l1", image_size=8)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="normalization is 'none'; give 'layer' or 'whole'"):
        FilterResponses(backbone, normalization="none", image_size=8)  # type: ignore[arg-type]
    flat = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.LazyLinear(2))
    flat(torch.zeros(1, 3, 8, 8))
    flat[2] = nn.Sequential(nn.AdaptiveAvgPool1d(8), nn.Linear(8, 2))
    responses = FilterResponses(FrozenBackbone(flat), ["0", "1"], image_size=8)
    with pytest.raises(ValueError, match="Layer '1' has 1024 filters for images of this size and 256 for those of"):
        responses(torch.zeros(1, 3, 16, 16))


def test_the_largest_activations_come_with_the_responses() -> None:
    """Before an in-place ReLU, and without a change of the responses."""
    net = Net().eval()
    images = torch.randn(3, 3, 8, 8)
    responses = FilterResponses(FrozenBackbone(net), image_size=8)
    features, maxima = responses.with_maxima(images)
    assert torch.equal(features["features"], responses(images)["features"])
    for row, image in enumerate(images):
        outputs = recorded(net, image)
        expected = [
            outputs[layer.name][0].flatten(1).amax(dim=1) for layer in responses.layers if outputs[layer.name].ndim > 2
        ]
        expected += [outputs["hidden"][0]]
        torch.testing.assert_close(maxima[row], torch.cat(expected))
    assert (maxima < 0).any()
