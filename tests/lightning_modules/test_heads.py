"""Whether saved heads, options and data go together."""

from typing import Any

import pytest
import torch
from torch import nn

from lightning_modules import MuLassoModule, SelectedFeaturesModule, SRAEModule
from lightning_modules.heads import check_drawable, check_image_size, first_difference, meaning_of, options_located
from tests.helpers.token_networks import SmallMixer, timm_vit
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.networks import BackboneOptions
from vitrine.core.options import OptionError
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers import InversionExplainer, InversionOptions, SRAEExplainer, SRAEOptions
from vitrine.explainers.mu_lasso.explainer import MuLassoOptions


def test_options_without_which_heads_are_about_something_else() -> None:
    options = {"explainer": "SRAEExplainer", "layer": "features", "pooling": "average", "beta": 3.0}
    assert meaning_of(options) == {"explainer": "SRAEExplainer", "layer": "features", "pooling": "average"}
    assert meaning_of({}) == {}


@pytest.mark.parametrize(
    ("own", "saved", "told"),
    [
        ({"a": torch.ones(1)}, {}, "'a' stands in the module alone"),
        ({}, {"b": torch.ones(1)}, "'b' stands in the checkpoint alone"),
        ({"a": torch.ones(1, 2)}, {"a": torch.ones(3)}, r"'a' is of shape (3,) in the checkpoint, of (1, 2) here"),
        ({"a": torch.ones(1), "b": 3}, {"a": torch.zeros(1), "b": 4}, "they cannot be read"),
    ],
)
def test_the_first_difference_of_two_state_dicts(own: dict[str, Any], saved: dict[str, Any], told: str) -> None:
    assert first_difference(own, saved) == told


def explainer(model: nn.Module, layer: str, pooling: Any, image_size: int = 32) -> SRAEExplainer:
    options = SRAEOptions(layer, pooling, num_features=2, hidden=(4,), image_size=image_size)
    return SRAEExplainer(FrozenBackbone(model), options)


@pytest.mark.parametrize(
    ("option", "value", "works"),
    [("image_size", 30, "32, which works"), ("layers", ["blocks.0.nrm1"], r"\['blocks.0.norm1'\], which works")],
)
def test_what_does_not_fit_the_network_of_a_mu_lasso(option: str, value: Any, works: str) -> None:
    small = {"embed_dim": 24, "depth": 1, "num_heads": 2, "img_size": 32, "patch_size": 8}
    backbone = BackboneOptions("timm:vit_tiny_patch16_224", num_classes=5, arguments=small)
    with pytest.raises(OptionError, match=f"model.init_args.mu_lasso.{option} is .*; give {works}"):
        MuLassoModule(backbone, MuLassoOptions(**{"image_size": 32, option: value}))


@pytest.mark.parametrize("module", [SRAEModule, SelectedFeaturesModule])
@pytest.mark.parametrize(
    ("option", "value", "works"),
    [
        ("image_size", 30, "32, which works"),
        ("pooling", "positions", "'cls', 'mean_tokens', 'tokens' or 'flatten'"),
        ("layer", "blocks.0.nrm1", "'blocks.0.norm1', which works"),
    ],
)
def test_what_does_not_fit_the_network_is_named_as_in_a_configuration(
    module: Any, option: str, value: Any, works: str
) -> None:
    small = {"embed_dim": 24, "depth": 1, "num_heads": 2, "num_classes": 5, "img_size": 32, "patch_size": 8}
    backbone = BackboneOptions("timm:vit_tiny_patch16_224", num_classes=small.pop("num_classes"), arguments=small)
    chosen: dict[str, Any] = {"layer": "blocks.0.norm1", "pooling": "mean_tokens", "image_size": 32, option: value}
    with pytest.raises(OptionError, match=f"model.init_args.srae.{option} is {value!r}; give {works}"):
        module(backbone, SRAEOptions(**chosen))


def test_images_of_a_size_that_the_network_does_not_take() -> None:
    vit = explainer(timm_vit(), "norm", "cls")
    check_image_size(vit, Preprocessing(32, None), "srae.image_size")
    with pytest.raises(OptionError, match=r"data.init_args.preprocessing.size is 30; give 32, which works"):
        check_image_size(vit, Preprocessing(30, None), "srae.image_size")
    check_image_size(explainer(timm_vit(dynamic_img_size=True), "norm", "cls"), Preprocessing(40, None), "any")


@pytest.mark.parametrize("pooling", ["tokens", "flatten"])
def test_heads_over_places_need_images_of_one_size(pooling: str) -> None:
    vit = explainer(timm_vit(dynamic_img_size=True), "norm", pooling)
    with pytest.raises(
        ValueError, match=r"srae.image_size is 32, data.init_args.preprocessing.size is 40; give the same"
    ):
        check_image_size(vit, Preprocessing(40, None), "srae.image_size")


def test_what_cannot_be_drawn_is_refused_before_a_fit() -> None:
    with pytest.raises(OptionError, match=r"model.init_args.srae.layer is 'late'; give 'pairs.inner', which works"):
        check_drawable(explainer(SmallMixer(opaque=True), "late", "tokens"), "model.init_args.srae")
    check_drawable(explainer(SmallMixer(), "late", "tokens"), "model.init_args.srae")
    check_drawable(nn.Module(), "model.init_args.any")  # type: ignore[arg-type]  # another explainer


def test_other_errors_are_not_renamed() -> None:
    with pytest.raises(ValueError, match=r"^no option$"), options_located("model.init_args.srae"):
        raise ValueError("no option")


def test_images_of_a_size_for_which_there_are_no_masks() -> None:
    vit = InversionExplainer(FrozenBackbone(timm_vit()), InversionOptions(image_size=32))
    check_image_size(vit, Preprocessing(32, None), "inversion.image_size")
    with pytest.raises(OptionError, match=r"data.init_args.preprocessing.size is 48; give 32, which works"):
        check_image_size(vit, Preprocessing(48, None), "inversion.image_size")
