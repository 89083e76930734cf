"""Layers that work instead of one that does not: each named one is tried here once more."""

import pytest
import torch
from torch import nn

from tests.helpers.token_networks import Opaque, SmallMixer, timm_vit
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.options import OptionError
from vitrine.explainers import SRAEExplainer, SRAEOptions
from vitrine.explainers.srae.drawing import Drawing
from vitrine.explainers.srae.layer_choices import LayerChoice, LayerChoices


def choices(model: nn.Module, pooling: str = "mean_tokens") -> LayerChoices:
    return LayerChoices(FrozenBackbone(model), pooling, 32, Drawing())


def options(layer: str, pooling: str = "mean_tokens") -> SRAEOptions:
    return SRAEOptions(layer, pooling, num_features=2, hidden=(4,), image_size=32)  # type: ignore[arg-type]


def test_layers_by_their_last_call() -> None:
    names = ["patches", "flat", "tokens", "mixing.0", "mixing.1", "mixing", "pairs.inner", "windows", "late", "head"]
    assert choices(SmallMixer()).layers() == names


def test_a_pooling_that_suits_the_layer_takes_the_place_of_one_that_does_not() -> None:
    mixer = choices(SmallMixer(), "cls")
    assert mixer.tried("mixing") == LayerChoice("mixing", "mean_tokens")
    assert mixer.tried("patches") == LayerChoice("patches", "average")
    assert mixer.tried("head") == LayerChoice("head", "cls")
    assert mixer.tried("pairs") is None
    assert choices(SmallMixer(opaque=True)).tried("late") is None


def test_the_last_layer_that_can_be_drawn() -> None:
    assert choices(SmallMixer(opaque=True)).last() == LayerChoice("pairs.inner", "mean_tokens")
    assert choices(SmallMixer()).last() == LayerChoice("late", "mean_tokens")
    assert choices(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)), "none").last() == LayerChoice("0", "none")


def test_a_part_of_a_block_that_cannot_be_drawn_is_not_named() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(8, 8)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return Opaque.apply(self.inner(tokens))

    model = SmallMixer()
    model.mixing = nn.Sequential(nn.Linear(8, 8), Block())
    assert choices(model).last() == LayerChoice("mixing.0", "mean_tokens")


@pytest.mark.parametrize(
    ("layer", "told", "works"),
    [
        ("mixin", "has no layer 'mixin'; near names", "mixing"),
        ("pairs", "gives a tuple, not a tensor", "pairs.inner"),
        ("unused", "gave no output", None),
        ("windows", r"gives \(4, 4, 8\) for a batch of 1", "pairs.inner"),
    ],
)
def test_a_layer_without_a_tensor_names_one_that_works(layer: str, told: str, works: str | None) -> None:
    backbone = FrozenBackbone(SmallMixer())
    with pytest.raises(OptionError, match=f"layer is '{layer}'; give .*, which works: .*{told}") as caught:
        SRAEExplainer(backbone, options(layer))
    named = caught.value.wanted.split("'")[1]
    assert named == (works or named)
    SRAEExplainer(backbone, options(named)).check_drawable()


def test_a_layer_that_cannot_be_drawn_names_the_last_one_that_can() -> None:
    backbone = FrozenBackbone(SmallMixer(opaque=True))
    explainer = SRAEExplainer(backbone, options("late", "tokens"))
    told = "layer is 'late'; give 'pairs.inner', which works: Excitation backprop has no rule for "
    with pytest.raises(OptionError, match=told):
        explainer.check_drawable()
    SRAEExplainer(backbone, options("pairs.inner", "tokens")).check_drawable()


def test_a_class_token_that_has_not_looked_at_patches_yet() -> None:
    backbone = FrozenBackbone(timm_vit())
    assert choices(timm_vit(), "cls").tried("norm_pre") == LayerChoice("norm_pre", "mean_tokens")
    with pytest.raises(
        OptionError,
        match=r"layer is 'norm_pre'; give '.*which works: With pooling 'cls' layer 'norm_pre' gives the same for any image",
    ):
        SRAEExplainer(backbone, options("norm_pre", "cls")).check_drawable()


def test_no_layer_can_be_drawn() -> None:
    class OpaqueFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, 2)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.head(Opaque.apply(images).mean(dim=(2, 3)))

    model = OpaqueFirst()
    assert choices(model).last() is None
    with pytest.raises(OptionError, match="layer is 'head'; give a layer of another network"):
        SRAEExplainer(FrozenBackbone(model), options("head")).check_drawable()


def test_heads_that_cannot_be_drawn_are_not_put_down_to_the_layer() -> None:
    explainer = SRAEExplainer(FrozenBackbone(SmallMixer()), options("late"))
    explainer.heads.double()
    with pytest.raises(ValueError, match="same dtype") as caught:
        explainer.check_drawable()
    assert not isinstance(caught.value, OptionError)


def test_tokens_that_the_logits_do_not_depend_on_are_told_of() -> None:
    explainer = SRAEExplainer(FrozenBackbone(timm_vit()), options("norm", "mean_tokens"))
    with pytest.warns(UserWarning, match="logits do not depend on what pooling 'mean_tokens' takes of layer 'norm'"):
        explainer.check_drawable()
