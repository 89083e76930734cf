"""Masking networks as explainers: what they read, explain, save and refuse."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from vitrine.backbones import FrozenBackbone
from vitrine.core.options import OptionError
from vitrine.explainers import MaskingExplainer, MaskingOptions, load


def network() -> nn.Module:
    torch.manual_seed(0)
    features = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(6, 10, 3, stride=2, padding=1), nn.ReLU()
    )
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, 4))


def explainer(**options: object) -> MaskingExplainer:
    torch.manual_seed(1)
    return MaskingExplainer(FrozenBackbone(network()), MaskingOptions(image_size=32, width=8, **options))  # type: ignore[arg-type]


def test_the_mask_is_the_decoders_for_the_class() -> None:
    masking, images = explainer(), torch.randn(3, 3, 32, 32)
    assert masking.options.mask_layers == masking.layers == ("0.1", "0")
    explanation = masking.explain(images, torch.tensor([3, 0, 1]))
    features: Any = masking.backbone.model.get_submodule("0")
    fine, coarse = features[:2](images), features(images)
    masks = masking.decoder([fine, coarse], torch.tensor([3, 0, 1]))
    expected = F.interpolate(masks, (32, 32), mode="bilinear", align_corners=False)
    torch.testing.assert_close(explanation.heatmaps, expected.detach())
    chances = masking.backbone(images).logits.softmax(dim=1)
    torch.testing.assert_close(explanation.scores[:, 0], chances[range(3), [3, 0, 1]])
    assert torch.equal(masking.explain(images).target, chances.argmax(dim=1))


def test_what_is_shown_is_a_blend_of_the_image_and_its_background() -> None:
    masking = explainer()
    images, background, masks = torch.randn(2, 3, 32, 32), torch.randn(2, 3, 32, 32), torch.rand(2, 1, 16, 16)
    m = F.interpolate(masks, (32, 32), mode="bilinear", align_corners=False)
    for multi_label in (False, True):
        masking.multi_label = multi_label
        logits = masking.backbone.model(images * m + background * (1 - m))
        expected = (F.logsigmoid(logits) if multi_label else logits.log_softmax(dim=1))[range(2), [1, 2]]
        found = masking.log_probabilities(images, masks, background, torch.tensor([1, 2]))
        torch.testing.assert_close(found, expected.detach(), atol=1e-5, rtol=1e-5)


def test_a_saved_one_gives_the_same_masks(tmp_path: Path) -> None:
    masking, images = explainer(mask_layers=["0.0", "0.2"]), torch.randn(2, 3, 32, 32)
    masking.save(tmp_path / "explainer")
    loaded = load(tmp_path / "explainer", backbone=network())
    assert torch.equal(loaded.explain(images, 1).heatmaps, masking.explain(images, 1).heatmaps)


def test_tokens_are_maps_too() -> None:
    small = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2, "num_classes": 5}
    backbone = FrozenBackbone(timm.create_model("vit_tiny_patch16_224", **small))
    masking = MaskingExplainer(backbone, MaskingOptions(image_size=32, width=8))
    with torch.inference_mode():
        explanation = masking.explain(torch.randn(2, 3, 32, 32))
    assert explanation.heatmaps.shape == (2, 1, 32, 32)
    assert masking.decoder.selector.weight.shape == (5, 24)


@pytest.mark.parametrize(
    ("options", "name"), [({"mask_layers": ["0.9"]}, "mask_layers"), ({"mask_layers": ["3"]}, "'3' gives")]
)
def test_layers_that_give_no_map_are_refused(options: dict[str, object], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        explainer(**options)


def test_a_size_that_the_backbone_does_not_take_is_refused() -> None:
    flat = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 8 * 8, 2))
    with pytest.raises(OptionError, match="image_size is 32; give 8"):
        MaskingExplainer(FrozenBackbone(flat), MaskingOptions(image_size=32))
