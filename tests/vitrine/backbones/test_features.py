"""Z of a layer: its poolings against their definitions, its sizes, and layers that give no vectors."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.token_networks import TokensFirst, timm_vit, torchvision_vit
from vitrine.backbones.features import TappedFeatures
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.options import OptionError


class Net(nn.Module):
    """A map of 4 channels, then vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Conv2d(3, 4, 3, stride=2)
        self.logits = nn.Linear(4, 5)
        self.rows = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        maps = self.map(images)
        self.rows(maps.flatten(2))
        output: Tensor = self.logits(maps.mean(dim=(2, 3)))
        return output


@pytest.fixture
def backbone() -> FrozenBackbone:
    torch.manual_seed(0)
    return FrozenBackbone(Net())


IMAGES = torch.rand(2, 3, 9, 11, generator=torch.Generator().manual_seed(1))


def test_poolings_by_their_definitions(backbone: FrozenBackbone) -> None:
    maps = backbone(IMAGES, taps=["map"]).taps["map"]
    pooled = {
        "average": maps.mean(dim=(2, 3)),
        "flatten": maps.flatten(1),
        "positions": torch.cat([maps[:, :, row, column] for row in range(4) for column in range(5)], dim=1),
    }
    for name, expected in pooled.items():
        torch.testing.assert_close(TappedFeatures(backbone, "map", name)(IMAGES)["features"], expected)
    for name in ("average", "flatten", "none"):
        vectors = TappedFeatures(backbone, "logits", name)(IMAGES)
        torch.testing.assert_close(vectors["features"], vectors["logits"])


@pytest.mark.parametrize(
    ("pooling", "sizes"), [("average", (4, 5, 1)), ("flatten", (64, 5, 1)), ("positions", (64, 5, 16))]
)
def test_sizes(pooling: str, sizes: tuple[int, int, int], backbone: FrozenBackbone) -> None:
    assert tuple(TappedFeatures(backbone, "map", pooling).sizes(9)) == sizes


def test_the_key_tells_features_apart(backbone: FrozenBackbone) -> None:
    keys = {
        TappedFeatures(backbone, layer, pooling).key
        for layer in ("map", "logits")
        for pooling in ("average", "flatten")
    }
    assert len(keys) == 4
    assert all(backbone.digest in key for key in keys)


def test_what_features_belong_to(backbone: FrozenBackbone) -> None:
    belongs_to = TappedFeatures(backbone, "map").belongs_to
    assert belongs_to == {"network": backbone.options.name, "weights": "", "layer": "map (average)"}


@pytest.mark.parametrize(("layer", "pooling"), [("map", "none"), ("rows", "average")])
def test_a_layer_that_gives_no_vectors(layer: str, pooling: str, backbone: FrozenBackbone) -> None:
    with pytest.raises(ValueError, match=f"Layer '{layer}' gives .* pooling '{pooling}'"):
        TappedFeatures(backbone, layer, pooling)(IMAGES)


@pytest.mark.parametrize(
    ("layer", "pooling", "works"),
    [
        ("map", "none", "'average', 'positions', 'mean_tokens', 'tokens' or 'flatten'"),
        ("map", "cls", "'average', 'positions', 'mean_tokens', 'tokens' or 'flatten'"),
        ("rows", "positions", "'mean_tokens', 'tokens' or 'flatten'"),
        ("rows", "cls", "'mean_tokens', 'tokens' or 'flatten'"),
    ],
)
def test_a_pooling_that_makes_no_vectors_names_those_that_do(
    layer: str, pooling: str, works: str, backbone: FrozenBackbone
) -> None:
    with pytest.raises(OptionError, match=f"pooling is '{pooling}'; give {works}: Layer '{layer}'") as caught:
        TappedFeatures(backbone, layer, pooling).sizes(9)
    assert caught.value.name == "pooling"


@pytest.mark.parametrize(
    ("options", "others"), [({}, 1), ({"reg_tokens": 4}, 5), ({"class_token": False, "global_pool": "avg"}, 0)]
)
def test_poolings_of_tokens_by_their_definitions(options: dict[str, Any], others: int) -> None:
    torch.manual_seed(0)
    backbone = FrozenBackbone(timm_vit(**options))
    images = torch.rand(3, 3, 32, 32)
    tokens = backbone(images, taps=["norm"]).taps["norm"]
    patches = tokens[:, others:]
    pooled = {"mean_tokens": patches.mean(dim=1), "tokens": patches.flatten(1), "flatten": tokens.flatten(1)}
    for name, expected in (pooled | ({"cls": tokens[:, 0]} if others else {})).items():
        features = TappedFeatures(backbone, "norm", name)
        torch.testing.assert_close(features(images)["features"], expected)
        assert tuple(features.sizes(32)) == (expected.shape[1], 5, 16 if name == "tokens" else 1)


def test_channels_last_are_pooled_as_the_permuted_map() -> None:
    class ChannelsLast(nn.Sequential):
        def forward(self, images: Tensor) -> Tensor:
            return self[2](self[1](self[0](images).permute(0, 2, 3, 1)).mean(dim=(1, 2)))

    torch.manual_seed(0)
    backbone = FrozenBackbone(ChannelsLast(nn.Conv2d(3, 6, 4, 4), nn.Identity(), nn.Linear(6, 2)))
    images = torch.rand(2, 3, 16, 24)
    for pooling in ("average", "positions", "mean_tokens", "tokens"):
        first, last = (TappedFeatures(backbone, layer, pooling)(images)["features"] for layer in ("0", "1"))
        torch.testing.assert_close(last, first)


@pytest.mark.parametrize("pooling", ["cls", "mean_tokens", "tokens", "flatten"])
@pytest.mark.parametrize("batch", [2, 17])
def test_a_batch_of_tokens_that_come_first_is_its_images_one_by_one(pooling: str, batch: int) -> None:
    """Also where there are as many images as tokens."""
    torch.manual_seed(0)
    features = TappedFeatures(FrozenBackbone(TokensFirst()), "encoder", pooling)
    images = torch.rand(batch, 3, 32, 32)
    together = features(images)["features"]
    alone = torch.cat([features(image[None])["features"] for image in images])
    torch.testing.assert_close(together, alone)
    assert together.shape == (batch, {"tokens": 16 * 8, "flatten": 17 * 8}.get(pooling, 8))


def test_the_tokens_of_images_of_another_size() -> None:
    features = TappedFeatures(FrozenBackbone(timm_vit(dynamic_img_size=True)), "norm", "tokens")
    for height, width in ((32, 32), (16, 40), (32, 32)):
        assert features(torch.rand(1, 3, height, width))["features"].shape == (1, height * width // 64 * 24)


def test_a_size_that_does_not_fit_names_one_that_does() -> None:
    told = r"image_size is 30; give 32, which works: .* takes no images of image_size 30 pixels \(.*doesn't match model"
    with pytest.raises(OptionError, match=told) as caught:
        TappedFeatures(FrozenBackbone(timm_vit()), "norm", "cls").sizes(30)
    assert caught.value.name == "image_size"


def test_wrong_options(backbone: FrozenBackbone) -> None:
    with pytest.raises(ValueError, match=r"pooling.*'sum'"):
        TappedFeatures(backbone, "map", "sum")
    with pytest.raises(ValueError, match="image_size is 0"):
        TappedFeatures(backbone, "map").sizes(0)
    with pytest.raises(ValueError, match="takes no images of image_size 2"):
        TappedFeatures(backbone, "map").sizes(2)


@pytest.mark.parametrize(
    ("options", "layer", "pooling", "is_read"),
    [
        ({}, "norm", "cls", True),
        ({}, "norm", "tokens", False),
        ({}, "blocks.1", "mean_tokens", False),
        ({}, "blocks.0", "mean_tokens", True),
        ({}, "norm", "flatten", True),
        ({"global_pool": "avg"}, "norm", "tokens", True),
        ({"num_classes": 0}, "norm", "tokens", False),
    ],
)
def test_whether_logits_depend_on_what_is_taken(
    options: dict[str, Any], layer: str, pooling: str, is_read: bool
) -> None:
    features = TappedFeatures(FrozenBackbone(timm_vit(**options)), layer, pooling)
    assert features.is_read(torch.rand(1, 3, 32, 32)) is is_read


def test_a_classifier_of_zeros_tells_nothing_of_what_is_read() -> None:
    assert TappedFeatures(FrozenBackbone(torchvision_vit()), "encoder.ln", "tokens").is_read(torch.rand(1, 3, 32, 32))
