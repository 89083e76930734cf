"""What can be done at the layers of a network: what is said is what happens."""

import pytest
import timm
import torch
from torch import nn

from vitrine.backbones.frozen import FrozenBackbone
from vitrine.explainers.capabilities import CapabilityTrials, LayerCapabilities


class Blocks(nn.Module):
    """A block of two convolutions in a sequence, then a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.stages = nn.Sequential(_Block(), _Block())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(4, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 5) logits."""
        return self.head(self.pool(self.stages(self.stem(images))).flatten(1))


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return maps + self.relu(self.conv(maps))


@pytest.fixture(scope="module")
def trials() -> CapabilityTrials:
    torch.manual_seed(0)
    return CapabilityTrials(FrozenBackbone(Blocks()), 16)


def test_layers_within_blocks_are_left_out(trials: CapabilityTrials) -> None:
    assert [visit.layer for visit in trials.layers()] == ["stem", "stages.0", "stages", "pool", "head"]
    every = [visit.layer for visit in trials.layers(all_layers=True)]
    first, second = (["stages.0.conv", "stages.0.relu", "stages.0"], ["stages.1.conv", "stages.1.relu", "stages"])
    assert every == ["stem", *first, *second, "pool", "head"]


def layer(trials: CapabilityTrials, name: str) -> LayerCapabilities:
    visit = next(visit for visit in trials.layers() if visit.layer == name)
    return trials.tried(trials.described(visit))


def test_a_map_takes_all(trials: CapabilityTrials) -> None:
    stage = layer(trials, "stages")
    assert (stage.module, stage.shape, stage.kind) == ("Sequential", (4, 16, 16), "map")
    assert stage.poolings["average"].works
    assert not stage.poolings["none"].works
    assert "'none'" in stage.poolings["none"].reason
    assert stage.drawn.works
    assert stage.filters == 4
    assert not stage.by_default
    assert stage.filters_drawn.works
    assert stage.inversion_layer.works
    assert stage.mask_layer.works
    assert stage.cam.works
    assert layer(trials, "stem").by_default


def test_a_vector_takes_less(trials: CapabilityTrials) -> None:
    head = layer(trials, "head")
    assert (head.kind, head.shape) == ("vector", (5,))
    assert head.poolings["none"].works
    assert not head.mask_layer.works
    assert not head.cam.works
    assert head.cam.reason


def test_defaults_are_those_that_are_taken(trials: CapabilityTrials) -> None:
    found = trials.defaults()
    assert (found.target_layer, found.inversion_layer, found.mask_layers) == ("stages", "stages", ("stages",))
    assert found.num_classes == 5


def test_methods_say_why_they_refuse(trials: CapabilityTrials) -> None:
    tried = dict(trials.methods("stages"))
    assert tried["GradCAM"].works
    assert tried["UpsampledActivation"].works  # of a channel of the named layer
    smooth = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    assert not dict(CapabilityTrials(FrozenBackbone(smooth), 8).methods("1"))["Deconvnet"].works


def test_tokens_are_told_from_the_others() -> None:
    network = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=24, depth=1, num_heads=2)
    trials = CapabilityTrials(FrozenBackbone(network), 32)
    kinds = {visit.layer: trials.described(visit).kind for visit in trials.layers()}
    assert kinds["patch_embed.proj"] == "map"
    assert kinds["norm"] == "tokens 4×4 + 1"
    with pytest.raises(ValueError, match="img_size"):
        CapabilityTrials(FrozenBackbone(network), 40)
