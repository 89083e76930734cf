"""Z of a layer: its poolings against their definitions, its sizes, and layers that give no vectors."""

import pytest
import torch
from torch import Tensor, nn

from vitrine.backbones.features import TappedFeatures
from vitrine.backbones.frozen import FrozenBackbone


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


def test_wrong_options(backbone: FrozenBackbone) -> None:
    with pytest.raises(ValueError, match=r"pooling.*'sum'"):
        TappedFeatures(backbone, "map", "sum")
    with pytest.raises(ValueError, match="image_size is 0"):
        TappedFeatures(backbone, "map").sizes(0)
    with pytest.raises(ValueError, match="takes no images of image_size 2"):
        TappedFeatures(backbone, "map").sizes(2)
