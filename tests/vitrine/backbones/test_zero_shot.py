"""Image towers with a head of text embeddings: the logits are those of the networks with both towers."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from tests.helpers.hugging_face_folders import saved
from vitrine.backbones.class_embeddings import write_class_embeddings
from vitrine.backbones.class_names import network_classes
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.networks import BackboneOptions

TOWERS = {
    "CLIPModel": ("CLIP", "Model", 16),
    "CLIPVisionModelWithProjection": ("CLIP", "VisionModelWithProjection", 16),
    "SiglipModel": ("Siglip", "Model", 32),
    "SiglipVisionModel": ("Siglip", "VisionModel", 32),
}


def embeddings_file(folder: Path, width: int, **numbers: float) -> tuple[str, Tensor]:
    path, embeddings = folder / "classes.safetensors", torch.randn(3, width)
    write_class_embeddings(path, embeddings, ["ant", "bee", "cat"], **numbers)
    return str(path), embeddings


@pytest.mark.parametrize("kind", TOWERS)
def test_cosines_of_a_folders_tower(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    family, suffix, width = TOWERS[kind]
    model, images = saved(tmp_path / "net", family, suffix), torch.rand(2, 3, 32, 32)
    path, embeddings = embeddings_file(tmp_path, width)
    with torch.no_grad():
        output = model.get_image_features(images) if suffix == "Model" else model(images)
    features = output  # of releases before 5 the tensor itself
    if not isinstance(output, Tensor):
        features = output.image_embeds if "image_embeds" in output else output.pooler_output
    scale = float(model.logit_scale.detach().exp()) if suffix == "Model" else 100.0
    bias = float(model.logit_bias.detach()) if kind == "SiglipModel" else 0.0
    expected = scale * F.normalize(features, dim=1) @ F.normalize(embeddings, dim=1).T + bias
    backbone = FrozenBackbone(f"hf:{tmp_path / 'net'}", arguments={"class_embeddings": path})
    assert torch.allclose(backbone(images).logits, expected, rtol=1e-4, atol=1e-4)
    assert not any("text" in name or "logit" in name for name in backbone.model.state_dict())
    assert backbone.options.num_classes == 3
    assert network_classes(backbone.options, 3) == [("ant",), ("bee",), ("cat",)]
    wider = FrozenBackbone(
        f"hf:{tmp_path / 'net'}", arguments={"class_embeddings": path, "interpolate_pos_encoding": True}
    )
    assert torch.equal(wider(images).logits, backbone(images).logits)
    assert wider(torch.rand(1, 3, 48, 64)).logits.shape == (1, 3)


def test_logits_per_image_of_clip_itself(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    model, images = saved(tmp_path / "net", "CLIP", "Model"), torch.rand(2, 3, 32, 32)
    ids = torch.tensor([[1, 5, 2], [1, 6, 2], [1, 7, 2]])
    with torch.no_grad():
        output = model(input_ids=ids, pixel_values=images)
    write_class_embeddings(tmp_path / "c.safetensors", output.text_embeds, "abc")
    backbone = FrozenBackbone(f"hf:{tmp_path / 'net'}", arguments={"class_embeddings": str(tmp_path / "c.safetensors")})
    assert torch.allclose(backbone(images).logits, output.logits_per_image, atol=1e-4)


TIMM = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2}


@pytest.mark.parametrize(
    ("name", "width", "count"),
    [
        ("vit_base_patch16_clip_224", 512, 512),
        ("vit_base_patch16_clip_224", 32, 0),
        ("vit_base_patch16_siglip_224", 32, 0),
        ("resnet10t", 512, 0),
    ],
)
def test_cosines_of_timms_tower(name: str, width: int, count: int | None, tmp_path: Path) -> None:
    """A projection as CLIP was trained with, where the embeddings are as wide; else what goes into the last layer."""
    own = TIMM if name.startswith("vit") else {}
    tower = timm.create_model(name, **({} if count is None else {"num_classes": count}), **own).eval()
    save_file(tower.state_dict(), tmp_path / "tower.safetensors")
    path, embeddings = embeddings_file(tmp_path, width, logit_scale=20.0, logit_bias=-3.0)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        expected = 20 * F.normalize(tower(images), dim=1) @ F.normalize(embeddings, dim=1).T - 3
    arguments = {"class_embeddings": path, **own}
    backbone = FrozenBackbone(f"timm:{name}", tmp_path / "tower.safetensors", arguments=arguments)
    assert torch.allclose(backbone(images).logits, expected, atol=1e-4)
    changed = FrozenBackbone(
        f"timm:{name}", tmp_path / "tower.safetensors", arguments={**arguments, "logit_scale": 40, "logit_bias": 0}
    )
    assert torch.allclose(changed(images).logits, 2 * (expected + 3), atol=1e-4)


def test_a_file_of_the_whole_classifier_needs_no_embeddings(tmp_path: Path) -> None:
    path, _ = embeddings_file(tmp_path, 32)
    options: dict[str, Any] = {
        "network": "timm:vit_base_patch16_siglip_224",
        "arguments": {"class_embeddings": path, **TIMM},
    }
    first = FrozenBackbone(**options)
    save_file(first.model.state_dict(), tmp_path / "all.safetensors")
    Path(path).unlink()
    again = FrozenBackbone(**options, weights=tmp_path / "all.safetensors")
    assert again.digest == first.digest
    assert again.options.num_classes == 3


@pytest.mark.parametrize(
    ("arguments", "num_classes", "message"),
    [
        ({"class_embeddings": "{path}"}, 4, r"num_classes is 4.*3 classes"),
        ({"class_embeddings": 3}, None, r"arguments.class_embeddings is 3.*\.safetensors"),
        ({"class_embeddings": "{path}", "logit_scale": 0}, None, r"logit_scale is 0.*above 0"),
        ({"class_embeddings": "{path}", "embed_dim": 64}, None, r"32 numbers a class.*64"),
    ],
)
def test_what_does_not_fit(arguments: dict[str, Any], num_classes: int | None, message: str, tmp_path: Path) -> None:
    path, _ = embeddings_file(tmp_path, 32)
    given = {key: path if value == "{path}" else value for key, value in arguments.items()}
    with pytest.raises(ValueError, match=message):
        FrozenBackbone("timm:vit_base_patch16_siglip_224", num_classes=num_classes, arguments={**TIMM, **given})


def test_embeddings_of_another_width_or_a_classifiers_folder(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    path, _ = embeddings_file(tmp_path, 32)
    saved(tmp_path / "clip", "CLIP", "Model")
    with pytest.raises(ValueError, match=r"32 numbers a class.*16"):
        FrozenBackbone(f"hf:{tmp_path / 'clip'}", arguments={"class_embeddings": path})
    saved(tmp_path / "vit", "ViT")
    with pytest.raises(ValueError, match=r"ViTForImageClassification.*gives no embeddings"):
        FrozenBackbone(f"hf:{tmp_path / 'vit'}", arguments={"class_embeddings": path})


def test_names_of_the_classes_without_the_network(tmp_path: Path) -> None:
    path, _ = embeddings_file(tmp_path, 32)
    options = BackboneOptions("timm:vit_base_patch16_siglip_224", arguments={"class_embeddings": path})
    assert network_classes(options, 3) == [("ant",), ("bee",), ("cat",)]
    assert network_classes(options, 4) is None
