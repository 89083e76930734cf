"""Size, mean and std of a network's images, as torchvision, timm and folders of Hugging Face say them."""

import json
from pathlib import Path
from typing import Any

import pytest

from vitrine.backbones.input_settings import input_settings
from vitrine.backbones.networks import BackboneOptions

HALF = (0.5, 0.5, 0.5)


def settings(name: str, weights: str | None = None, **arguments: Any) -> tuple[Any, ...] | None:
    found = input_settings(BackboneOptions(name, weights, arguments=arguments))
    return None if found is None else (found.size, found.resize, found.mean, found.std)


def test_torchvisions_are_those_of_the_weights() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    assert settings("resnet50", "IMAGENET1K_V1") == (224, 256, mean, std)
    assert settings("resnet50") == (224, 232, mean, std)
    assert settings("vit_b_16", image_size=384) == (384, 384, mean, std)
    assert settings("nothing") is None


def test_timms_are_those_of_its_configuration() -> None:
    pytest.importorskip("timm")
    assert settings("timm:vit_tiny_patch16_224") == (224, 248, HALF, HALF)
    assert settings("timm:vit_tiny_patch16_224", img_size=90, in_chans=1) == (90, 100, (0.5,), (0.5,))
    assert settings("timm:nothing") is None


@pytest.mark.parametrize(
    ("saved", "expected"),
    [
        ({"size": {"height": 32, "width": 32}, "image_mean": [0.1, 0.2, 0.3]}, (32, None, (0.1, 0.2, 0.3), HALF)),
        ({"size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": 32}, (32, 40, HALF, HALF)),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, (224, 256, HALF, HALF)),  # ConvNeXt
        ({"size": 30, "do_normalize": False}, (30, None, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))),
        ({"image_std": [0.2, 0.2, 0.2]}, (48, None, HALF, (0.2, 0.2, 0.2))),
    ],
)
def test_a_folders_are_those_of_its_preprocessor(saved: dict[str, Any], expected: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"image_size": 48}))
    assert settings(f"hf:{tmp_path}") is None
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(saved))
    assert settings(f"hf:{tmp_path}") == expected


def test_of_an_own_class_nothing_is_known() -> None:
    assert settings("package.module:Net") is None
