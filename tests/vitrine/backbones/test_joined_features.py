"""Features of several layers come from one pass, and are those that each layer gives alone."""

import json

import torch
from torch import Tensor, nn

from vitrine.backbones import guard
from vitrine.backbones.features import TappedFeatures
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.joined_features import JoinedFeatures
from vitrine.data.feature_store.computing import many_passes_of

PASSES: list[int] = []
"""Images of each pass; a call puts back what it changes of the network itself."""


class Counted(nn.Sequential):
    """Counts its passes."""

    def forward(self, image: Tensor) -> Tensor:
        PASSES.append(len(image))
        result: Tensor = super().forward(image)
        return result


def parts_of(model: nn.Module) -> list[TappedFeatures]:
    backbone = FrozenBackbone(model)
    return [
        TappedFeatures(backbone, "0"),
        TappedFeatures(backbone, "1", "positions"),
        TappedFeatures(backbone, "0"),
    ]


def test_one_pass_gives_what_each_gives_alone() -> None:
    torch.manual_seed(0)
    model = Counted(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    parts, images = parts_of(model), torch.rand(5, 3, 6, 6)
    joined = JoinedFeatures(parts, [4, 64, 4])
    joined(images)  # the first call of a backbone also finds out whether it mixes images
    PASSES.clear()
    found = joined(images)
    assert PASSES == [5]
    assert found["features"].shape == (5, 68)
    for mine, part in zip(joined.split(found["features"]), parts, strict=True):
        torch.testing.assert_close(mine, part(images)["features"])
    torch.testing.assert_close(found["logits"], model(images))


def test_the_key_is_that_of_all_layers_and_of_one_layer_its_own() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    parts = parts_of(model)
    assert JoinedFeatures(parts[::2], [4, 4]).key == parts[0].key
    joined = JoinedFeatures(parts, [4, 64, 4])
    assert json.loads(joined.key) == [parts[0].key, parts[1].key]
    assert joined.belongs_to["layer"] == "0 (average), 1 (positions)"


def test_extractors_guard_the_network_once_for_many_passes() -> None:
    layers = (nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    parts = parts_of(nn.Sequential(*layers).eval())
    for extractor in (parts[0], JoinedFeatures(parts, [4, 64, 4])):
        extractor(torch.rand(2, 3, 6, 6))  # a first pass shows that the network writes nothing
        with many_passes_of(extractor):
            assert guard._held.model is parts[0].backbone.model
        assert guard._held.model is None
