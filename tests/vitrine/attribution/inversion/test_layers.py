"""Between which layers masks are found, in networks of all kinds."""

from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from vitrine.attribution import InversionMask
from vitrine.attribution.inversion import (
    InversionLayers,
    InversionSettings,
    InvertedNetwork,
    inversion_layers,
    refusal_of_layers,
)
from vitrine.backbones.guard import eval_guard


def built(name: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    if not name.startswith("vgg"):
        network: nn.Module = getattr(torchvision.models, name)(weights=None, **options)
        return network.eval()
    with torch.device("meta"):  # its linear layers take seconds to make
        network = getattr(torchvision.models, name)(weights=None)
    network.get_submodule("features").to_empty(device="cpu")
    for parameter in network.get_submodule("features").parameters():
        nn.init.normal_(parameter, std=0.03)
    network.classifier = nn.Linear(512 * 7 * 7, options["num_classes"])
    return network.eval()


def layers_of(model: nn.Module, size: int = 64, **options: Any) -> InversionLayers:
    with eval_guard(model):
        return inversion_layers(model, torch.zeros(1, 3, size, size), **options)


class Functional(nn.Module):
    """A network whose ReLUs and pooling are no modules."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
        self.head = nn.Linear(6, 3)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        hidden = F.max_pool2d(F.relu(self.first(images)), 2)
        return self.head(F.relu(self.second(hidden), inplace=True).mean(dim=(2, 3)))


@pytest.mark.parametrize(
    ("name", "size", "mask", "channels", "cells"),
    [
        ("vgg11", 64, "features.19", 512, (4, 4)),
        ("alexnet", 96, "features", 256, (2, 2)),
        ("resnet18", 64, "layer4.1.bn1", 512, (2, 2)),
        ("mobilenet_v2", 64, "features", 1280, (2, 2)),
        ("squeezenet1_0", 64, "features", 512, (3, 3)),
    ],
)
def test_layers_of_known_networks(name: str, size: int, mask: str, channels: int, cells: tuple[int, int]) -> None:
    model = built(name, num_classes=7)
    layers = layers_of(model, size)
    assert layers.inversion in {"features", "layer4"}
    assert layers.mask == (mask,)
    with eval_guard(model):
        reading = InvertedNetwork(model, layers, InversionSettings()).read(torch.randn(2, 3, size, size))
    assert reading.maps.layers[0].shape == (2, channels, *cells)
    assert float(reading.maps.layers[0].min()) == 0
    assert float(reading.maps.layers[0].max()) > 0
    assert reading.classes.tolist() == reading.logits.argmax(dim=1).tolist()


def test_layers_of_vgg19_are_those_of_the_paper() -> None:
    with torch.device("meta"):
        model = torchvision.models.vgg19(weights=None, num_classes=2)
    assert inversion_layers(model, torch.empty(1), "features.36").mask == ("features.35",)
    assert inversion_layers(model, torch.empty(1), "features") == InversionLayers("features", ("features.35",))
    assert isinstance(model.features[36], nn.MaxPool2d)
    assert isinstance(model.features[34], nn.Conv2d)


def test_what_resnet_gives_before_its_relu_is_rectified() -> None:
    model, images = built("resnet18", num_classes=3), torch.randn(1, 3, 64, 64)
    actual: list[Tensor] = []
    block = model.get_submodule("layer4.1")
    block.get_submodule("bn1").register_forward_hook(lambda _m, _i, output: actual.append(output.clone()))
    with eval_guard(model):
        reading = InvertedNetwork(model, layers_of(model), InversionSettings()).read(images)
    torch.testing.assert_close(reading.maps.layers[0], actual[-1].relu())


def test_a_pooling_that_stands_in_two_places() -> None:
    pool, relu = nn.MaxPool2d(2), nn.ReLU(inplace=True)
    features = nn.Sequential(nn.Conv2d(3, 4, 3), relu, pool, nn.Conv2d(4, 5, 3), relu, pool)
    model = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)).eval()
    layers = layers_of(model, 32)
    assert layers.mask == ("0.4",)
    with eval_guard(model):
        reading = InvertedNetwork(model, layers, InversionSettings()).read(torch.randn(2, 3, 32, 32))
    assert reading.maps.layers[0].shape == (2, 5, 13, 13)


def test_functional_relus_are_of_no_matter() -> None:
    torch.manual_seed(0)
    model, images = Functional().eval(), torch.randn(2, 3, 16, 16)
    assert layers_of(model, 16) == InversionLayers("second", ("second",))
    with eval_guard(model):
        network = InvertedNetwork(model, layers_of(model, 16), InversionSettings())
        reading = network.read(images)
        hidden = F.max_pool2d(model.first(images).relu(), 2)
        torch.testing.assert_close(reading.features, model.second(hidden))
        torch.testing.assert_close(reading.maps.layers[0], model.second(hidden).relu())
        torch.testing.assert_close(network.features(images), reading.features, rtol=0, atol=0)
    masks = InversionMask(model, inversion_steps=2, class_steps=3).attribute(images)
    assert masks.shape == (2, 1, 16, 16)


def test_tokens_of_a_transformer() -> None:
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224", pretrained=False, img_size=48, depth=2, embed_dim=24, num_heads=2, num_classes=4
    ).eval()
    layers = layers_of(model, 48)
    with eval_guard(model):
        reading = InvertedNetwork(model, layers, InversionSettings()).read(torch.randn(2, 3, 48, 48), evidence=True)
    assert reading.maps.layers[0].shape == (2, 24, 3, 3)
    assert reading.features.shape == (2, 10, 24)
    assert reading.evidence is not None
    assert reading.evidence.shape == (2, 24, 4)
    masks = InversionMask(model, inversion_steps=2, class_steps=3).attribute(torch.randn(2, 3, 48, 48))
    assert masks.shape == (2, 1, 48, 48)
    assert bool(((masks >= 0) & (masks <= 1)).all())


SMALL: dict[str, Any] = {"num_classes": 4}
FAMILIES: list[tuple[str, int, dict[str, Any], str, str]] = [
    ("resnet18", 64, {}, "layer4", "layer4.1.bn1"),  # as torchvision's
    ("resnet26", 64, {}, "layer4", "layer4.1.bn2"),
    ("res2net50_14w_8s", 64, {}, "layer4", "layer4"),  # several branches
    ("legacy_seresnet18", 64, {}, "layer4", "layer4.1.bn1"),
    ("inception_next_atto", 64, {}, "stages", "stages"),
    ("convnext_atto", 64, {"depths": (1, 1, 1, 1)}, "stages", "stages"),
    ("swinv2_tiny_window8_256", 64, {"img_size": 64, "depths": (1, 1, 1, 1)}, "norm", "norm"),
    ("mixer_s32_224", 64, {"img_size": 64}, "norm", "norm"),
    ("xcit_nano_12_p16_224", 64, {"img_size": 64, "depth": 2}, "cls_attn_blocks.1.norm1", "cls_attn_blocks.1.norm1"),
    ("pit_ti_distilled_224", 64, {"img_size": 64}, "transformers.2.blocks.3.norm1", "transformers.2.blocks.3.norm1"),
    ("deit_tiny_distilled_patch16_224", 64, {"img_size": 64, "depth": 2}, "blocks.1.norm1", "blocks.1.norm1"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "size", "options", "inversion", "mask"), FAMILIES)
def test_the_default_layers_of_any_family_give_masks(
    name: str, size: int, options: dict[str, Any], inversion: str, mask: str
) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name, **SMALL, **options).eval()
    images = torch.randn(1, 3, size, size)
    layers = layers_of(model, size)
    assert layers == InversionLayers(inversion, (mask,))
    with eval_guard(model):
        assert refusal_of_layers(model, images, layers, InversionSettings()) is None
    masks = InversionMask(model, inversion_steps=2, class_steps=2).attribute(images)
    assert masks.isfinite().all()
    assert float(masks.std()) > 0.01


@pytest.mark.parametrize(
    ("name", "options", "stages"),
    [
        ("vit_tiny_patch16_224", {"depth": 2}, ("blocks.1.norm1",)),  # one resolution
        (
            "swin_tiny_patch4_window7_224",
            {"depths": (1, 1, 1, 1), "window_size": 2},
            ("layers.0", "layers.1", "layers.2", "norm"),
        ),
        ("pvt_v2_b0", {}, ("stages.0", "stages.1", "stages.2", "stages")),
    ],
)
def test_stages_of_transformers(name: str, options: dict[str, Any], stages: tuple[str, ...]) -> None:
    takes_size = {} if name.startswith("pvt") else {"img_size": 64}
    model = timm.create_model(name, **SMALL, **takes_size, **options).eval()
    assert layers_of(model, mask_from="stages").mask == stages
    assert layers_of(model, mask_from="finest").mask == stages[:1]


def share_of(maps: Tensor) -> Tensor:
    """Divided so that their sum over channels has mean 1."""
    return torch.stack([one / one.sum(dim=0).mean() for one in maps])


def test_several_mask_layers_are_brought_to_one_size_and_evened_out(
    inverted_net: nn.Module, inverted_images: Tensor
) -> None:
    layers = inversion_layers(inverted_net, inverted_images, mask=("features.5", "features.1"))
    reading = InvertedNetwork(inverted_net, layers, InversionSettings()).read(inverted_images)
    early = inverted_net.get_submodule("features")[:2](inverted_images)  # type: ignore[index]
    late = inverted_net.get_submodule("features")(inverted_images)
    assert reading.maps.channels == 20
    for actual, expected in zip(reading.maps.layers, (late, early), strict=True):
        torch.testing.assert_close(actual, share_of(expected))
    weights = torch.rand(3, 20, dtype=torch.float64)
    larger = F.interpolate(share_of(late), (32, 32), mode="bilinear", align_corners=False)
    whole = torch.cat([larger, share_of(early)], dim=1)
    torch.testing.assert_close(
        reading.maps.combined(weights)[:, 0], torch.einsum("rn,rnhw->rhw", weights, whole), rtol=1e-9, atol=1e-9
    )


def test_named_layers(inverted_net: nn.Module, inverted_images: Tensor) -> None:
    assert inversion_layers(inverted_net, inverted_images, "features.3") == ("features.3", ("features.3",))
    assert inversion_layers(inverted_net, inverted_images, "features.5", ("features.1",)).mask == ("features.1",)
    assert inversion_layers(inverted_net, inverted_images) == ("features", ("features.4",))


@pytest.mark.parametrize("named", [{"inversion": "featurs.3"}, {"mask": ("featurs.3",)}])
def test_layers_that_are_not_there(named: dict[str, Any], inverted_net: nn.Module, inverted_images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"no layer 'featurs\.3'; near names: features\.3"):
        inversion_layers(inverted_net, inverted_images, **named)


def test_layers_without_a_map(inverted_net: nn.Module, inverted_images: Tensor) -> None:
    method = InversionMask(inverted_net, "classifier", inversion_steps=1, class_steps=1)
    with pytest.raises(ValueError, match="has no places in the image"):
        method.attribute(inverted_images)
    with pytest.raises(ValueError, match="map of more than one cell"):
        layers_of(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3)), 8)
