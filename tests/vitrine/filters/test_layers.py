"""Which layers' filters are features."""

from collections.abc import Sequence
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import VisionTransformer, get_model

from vitrine.data.an8flower.network import FlowerNet
from vitrine.filters.layers import ResponseLayer, response_layers


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def names(layers: Sequence[ResponseLayer]) -> list[str]:
    return [layer.name for layer in layers]


def rows(layers: Sequence[ResponseLayer]) -> list[tuple[str, str, int, int]]:
    return [(layer.name, layer.kind, layer.number, layer.width) for layer in layers]


def test_alexnet_without_its_class_layer() -> None:
    model = get_model("alexnet", weights=None, num_classes=5)
    assert rows(response_layers(model, 64)) == [
        ("features.0", "conv", 1, 64),
        ("features.2", "pool", 3, 64),
        ("features.3", "conv", 4, 192),
        ("features.5", "pool", 6, 192),
        ("features.6", "conv", 7, 384),
        ("features.8", "conv", 9, 256),
        ("features.10", "conv", 11, 256),
        ("features.12", "pool", 13, 256),
        ("avgpool", "pool", 14, 256),
        ("classifier.1", "linear", 15, 4096),  # dropout is no layer
        ("classifier.4", "linear", 17, 4096),
    ]


def test_with_activations_layers_are_those_that_the_paper_counts() -> None:
    """MatConvNet's VGG-F: 15 layers up to pool5, four of fc6 and fc7 with their ReLUs, and the class layer left out."""
    shape: list[nn.Module] = []
    for width, pools in ((64, True), (256, True), (256, False), (256, False), (256, True)):
        shape += [nn.LazyConv2d(width, 3, padding=1), nn.ReLU(inplace=True)]
        shape += [nn.LocalResponseNorm(5)] if pools and len(shape) < 8 else []
        shape += [nn.MaxPool2d(2)] if pools else []
    shape += [
        nn.Flatten(),
        nn.LazyLinear(4096),
        nn.ReLU(),
        nn.Dropout(),
        nn.LazyLinear(4096),
        nn.ReLU(),
        nn.LazyLinear(5),
    ]
    vgg_f = nn.Sequential(*shape)
    vgg_f(torch.zeros(1, 3, 16, 16))
    every = response_layers(vgg_f, 16, "all_with_activations")
    assert [layer.number for layer in every] == list(range(1, 20))
    assert [layer.kind for layer in every] == [
        *["conv", "activation", "norm", "pool"] * 2, *["conv", "activation"] * 3, "pool", *["linear", "activation"] * 2
    ]  # fmt: skip
    assert sum(layer.width for layer in every) == 4 * 64 + 11 * 256 + 4 * 4096
    maps = response_layers(vgg_f, 16, "conv_with_activations")
    assert names(maps) == names(every[:15])
    assert [layer for layer in names(every) if layer in names(response_layers(vgg_f, 16))] == [
        layer.name for layer in every if layer.kind != "activation"
    ]


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("squeezenet1_0", 2 + 8 * 3 - 1),  # the first, three in each fire module; the class layer's is left out
        ("resnet18", 1 + 8),  # of those that run twice, the last call
        ("vit_tiny_patch16_224", 2 * 12),  # of patches and of the class token
    ],
)
def test_activation_modules_among_the_layers(network: str, expected: int) -> None:
    known = network in {"squeezenet1_0", "resnet18"}
    model = get_model(network, weights=None, num_classes=5) if known else timm.create_model(network, num_classes=5)
    size = 64 if known else 224
    plain, every = response_layers(model, size), response_layers(model, size, "all_with_activations")
    assert [layer.name for layer in every if layer.kind != "activation"] == names(plain)
    assert sum(layer.kind == "activation" for layer in every) == expected


def test_attention_and_softmax_are_no_activations() -> None:
    model = VisionTransformer(32, 8, num_layers=1, num_heads=2, hidden_dim=12, mlp_dim=20, num_classes=3)
    model.heads = nn.Sequential(nn.Linear(12, 8), nn.Softmax(dim=1), nn.Linear(8, 3))
    kinds = {layer.module: layer.kind for layer in response_layers(model, 32, "all_with_activations")}
    assert [name for name, kind in kinds.items() if kind == "activation"] == ["encoder.layers.encoder_layer_0.mlp.1"]


def test_resnet18_without_its_class_layer() -> None:
    layers = response_layers(get_model("resnet18", weights=None, num_classes=5), 64)
    block = ["conv1", "bn1", "conv2", "bn2"]
    blocks = [f"layer{stage}.{part}.{name}" for stage in (1, 2, 3, 4) for part in (0, 1) for name in block]
    for stage in (4, 3, 2):  # runs after the block's other convolutions
        place = blocks.index(f"layer{stage}.0.bn2") + 1
        blocks[place:place] = [f"layer{stage}.0.downsample.0", f"layer{stage}.0.downsample.1"]
    assert names(layers) == ["conv1", "bn1", "maxpool", *blocks, "avgpool"]
    assert rows(layers)[:5] == [
        ("conv1", "conv", 1, 64),
        ("bn1", "norm", 2, 64),
        ("maxpool", "pool", 4, 64),
        ("layer1.0.conv1", "conv", 5, 64),
        ("layer1.0.bn1", "norm", 6, 64),
    ]
    assert rows(layers)[-1] == ("avgpool", "pool", 59, 512)
    assert all(layer.spatial for layer in layers)


def test_squeezenet_without_the_convolution_that_gives_the_classes_and_its_pooling() -> None:
    layers = response_layers(get_model("squeezenet1_0", weights=None, num_classes=5), 64)
    fires = [f"features.{fire}.{part}" for fire in (3, 4, 5, 7, 8, 9, 10, 12) for part in ("squeeze", "e1", "e3")]
    fires = [name.replace("e1", "expand1x1").replace("e3", "expand3x3") for name in fires]
    expected = ["features.0", "features.2", *fires[:9], "features.6", *fires[9:21], "features.11", *fires[21:]]
    assert names(layers) == expected
    assert {layer.kind for layer in layers} == {"conv", "pool"}
    assert layers[-1].number == 2 + 2 + 8 * 6 + 1 - 1  # all but the last ReLU


def test_mobilenet_v2_without_its_class_layer() -> None:
    model = get_model("mobilenet_v2", weights=None, num_classes=5)
    layers = response_layers(model, 64)
    kinds = (nn.Conv2d, nn.BatchNorm2d)
    assert names(layers) == [name for name, module in model.named_modules() if isinstance(module, kinds)]
    assert rows(layers)[-1] == ("features.18.1", "norm", 138, 1280)


def test_flowernet_without_its_class_layer() -> None:
    assert rows(response_layers(FlowerNet(), 64)) == [
        ("features.0", "conv", 1, 16),
        ("features.2", "pool", 3, 16),
        ("features.3", "conv", 4, 32),
        ("features.5", "pool", 6, 32),
        ("features.6", "conv", 7, 64),
        ("features.8", "conv", 9, 64),
        ("pool", "pool", 11, 64),
        ("classifier.1", "linear", 12, 64),
    ]


def test_a_vision_transformer_without_its_class_layer() -> None:
    model = VisionTransformer(32, 8, 2, 2, 16, 24, num_classes=5)
    block = ["ln_1", "ln_2", "mlp.0", "mlp.3"]
    blocks = [f"encoder.layers.encoder_layer_{index}.{name}" for index in (0, 1) for name in block]
    layers = response_layers(model, 32, tokens="patches")
    assert names(layers) == ["conv_proj", *blocks, "encoder.ln"]
    assert all(layer.spatial for layer in layers)  # in the grid of the patches
    assert [layer.axis for layer in layers] == [1] + [2] * 9
    assert [layer.width for layer in layers] == [16, 16, 16, 24, 16, 16, 16, 24, 16, 16]
    assert names(response_layers(model, 32, "conv")) == ["conv_proj"]


def test_a_vision_transformer_of_timm() -> None:
    model = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=1, num_classes=5)
    block = [f"blocks.0.{name}" for name in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")]
    layers = response_layers(model, 64, tokens="patches")
    assert names(layers) == ["patch_embed.proj", *block, "norm"]
    assert [layer.number for layer in layers] == [1, 2, 3, 4, 5, 6, 8, 9]


def test_norms_with_an_activation_in_them_and_poolings_of_timm() -> None:
    layers = response_layers(timm.create_model("densenet121", num_classes=5), 64)
    assert rows(layers)[-2:] == [("features.norm5", "norm", 245, 1024), ("global_pool.pool", "pool", 246, 1024)]


def test_channels_last_maps() -> None:
    layers = response_layers(get_model("convnext_tiny", weights=None, num_classes=5), (3, 64, 96))
    by_name = {layer.name: layer for layer in layers}
    assert by_name["features.1.0.block.0"].axis == 1  # a convolution
    assert by_name["features.1.0.block.2"].axis == 3  # a layer norm behind a permutation
    assert by_name["features.1.0.block.3"][3:7] == (384, by_name["features.1.0.block.3"].start, True, 3)
    assert by_name["features.0.1"].axis == 1  # a layer norm that takes channels first
    assert by_name["classifier.0"].axis == 1
    assert "classifier.2" not in by_name


def test_only_maps_for_conv() -> None:
    model = FlowerNet()
    assert names(response_layers(model, 64, "conv")) == names(response_layers(model, 64))[:-1]
    alexnet = get_model("alexnet", weights=None)
    assert names(response_layers(alexnet, 64, "conv")) == names(response_layers(alexnet, 64))[:-2]


def test_filters_are_numbered_through() -> None:
    layers = response_layers(FlowerNet(), 64)
    assert [layer.start for layer in layers] == [0, 16, 32, 64, 96, 160, 224, 288]


def test_named_layers_come_in_the_order_in_which_they_run() -> None:
    layers = response_layers(FlowerNet(), 64, ["classifier.3", "classifier.2", "features.1", "features"])
    assert rows(layers) == [
        ("features.1", "activation", 2, 16),
        ("features", "other", 10, 64),
        ("classifier.2", "activation", 13, 64),
        ("classifier.3", "linear", 14, 6),  # the user may name the class layer
    ]


class Functional(nn.Module):
    """ReLUs without modules, a convolution that runs twice, and hidden layers as wide as there are classes."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, classes, 3, padding=1)
        self.twice = nn.Conv2d(classes, classes, 3, padding=1)
        self.hidden = nn.Linear(classes, classes)
        self.unused = nn.Linear(classes, classes)
        self.last = nn.Linear(classes, classes, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.first(image), inplace=True)
        x = F.relu(self.twice(x))
        x = F.relu(self.twice(x))
        return self.last(F.relu(self.hidden(x.mean(dim=(2, 3)))))


def test_hidden_layers_as_wide_as_the_classes_stay_and_unused_ones_do_not() -> None:
    model = Functional()
    assert rows(response_layers(model, 16)) == [
        ("first", "conv", 1, 4),
        ("twice", "conv", 3, 4),
        ("hidden", "linear", 4, 4),
    ]
    nn.init.zeros_(model.last.weight)  # as transformers begin: no gradient reaches the layers before
    assert names(response_layers(model, 16)) == ["first", "twice", "hidden"]


class Heads(nn.Module):
    """Two classifiers whose logits are averaged, one of them over a map."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3)
        self.map = nn.Conv2d(6, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.linear = nn.Linear(6, 4)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image).relu()
        return (self.pool(self.norm(self.map(x))).flatten(1) + self.linear(x.mean(dim=(2, 3)))) / 2


def test_all_layers_whose_channels_are_the_logits_are_left_out() -> None:
    assert names(response_layers(Heads(), 16)) == ["stem"]


def test_a_gray_image() -> None:
    model = nn.Sequential(nn.Conv2d(1, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 36, 2))
    assert rows(response_layers(model, (1, 8, 8))) == [("0", "conv", 1, 5)]


ERRORS: list[tuple[Any, str]] = [
    (
        "every",
        r"layers is 'every'; give 'all', 'conv', 'all_with_activations', 'conv_with_activations' or a list of names",
    ),
    (["frist"], r"The model has no layer 'frist'; near names: first"),
    (["first", "unused"], r"Layer 'unused' gives no tensor \(B, …\) that depends on the image"),
    ([], r"Functional has no layers for \[\]"),
]


@pytest.mark.parametrize(("layers", "message"), ERRORS)
def test_errors_say_what_is_wrong(layers: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        response_layers(Functional(), 16, layers)


def test_five_dimensions_have_no_filters() -> None:
    model = nn.Sequential(nn.Unflatten(1, (3, 1)), nn.Conv3d(3, 2, 1), nn.Flatten(), nn.Linear(2 * 64, 2))
    with pytest.raises(ValueError, match=r"Layer '1' gives \(1, 2, 1, 8, 8\) for one image, which has no filters"):
        response_layers(model, 8, ["1"])
    with pytest.raises(ValueError, match="Sequential has no layers for 'all'"):
        response_layers(model, 8)
