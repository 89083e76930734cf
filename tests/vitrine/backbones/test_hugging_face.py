"""Networks of Hugging Face folders: the same logits, class names, other sizes and counts, and what is refused."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.helpers.hugging_face_folders import CLASSES, FAMILIES, edit_config, saved
from vitrine.backbones.class_names import network_classes
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.networks import BackboneOptions

pytest.importorskip("transformers")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    saved(tmp_path / "vit", "ViT")
    return tmp_path / "vit"


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_transformers(family: str, tmp_path: Path) -> None:
    model = saved(tmp_path / "net", family)
    images = torch.rand(2, 3, 32, 32)
    backbone = FrozenBackbone(f"hf:{tmp_path / 'net'}")
    with torch.no_grad():
        expected = model(images).logits
    assert torch.allclose(backbone(images).logits, expected, atol=1e-5)
    assert network_classes(backbone.options, 3) == [(name,) for name in CLASSES]
    other = FrozenBackbone(f"hf:{tmp_path / 'net'}", num_classes=5)  # a new last layer on the folder's weights
    assert other(images).logits.shape == (2, 5)
    kept = backbone.model.state_dict()
    same = [torch.equal(value, kept[name]) for name, value in other.model.state_dict().items() if "class" not in name]
    assert same
    assert all(same)


def test_half_precision_is_computed_in_float32(tmp_path: Path) -> None:
    saved(tmp_path / "net", "ResNet").half().save_pretrained(tmp_path / "net")
    types = {value.dtype for value in FrozenBackbone(f"hf:{tmp_path / 'net'}").model.parameters()}
    assert types == {torch.float32}


def test_placeholders_are_no_class_names(folder: Path) -> None:
    edit_config(folder, id2label={"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"})
    assert network_classes(BackboneOptions(f"hf:{folder}"), 3) is None
    assert network_classes(BackboneOptions(f"hf:{folder}"), 4) is None


def test_the_weights_are_known_not_random(folder: Path) -> None:
    assert not BackboneOptions(f"hf:{folder}").has_random_weights


@pytest.mark.parametrize("names", ["as transformers saves them", "as torch saves them"])
@pytest.mark.parametrize("count", [3, 5])
def test_another_weight_file_takes_the_place_of_the_folders(
    folder: Path, tmp_path: Path, names: str, count: int
) -> None:
    tuned: Any = FrozenBackbone(f"hf:{folder}", num_classes=count).model
    with torch.no_grad():
        tuned.vit.layernorm.bias += 1
    if names == "as torch saves them":
        save_file(tuned.state_dict(), tmp_path / "model.safetensors")
    else:
        tuned.save_pretrained(tmp_path)
    backbone = FrozenBackbone(f"hf:{folder}", tmp_path / "model.safetensors")
    assert backbone.digest == FrozenBackbone(tuned).digest
    assert backbone.options.num_classes in {None, count}
    with pytest.raises(ValueError, match=r"does not fit the network"):
        FrozenBackbone(f"hf:{folder}", tmp_path / "model.safetensors", arguments={"num_hidden_layers": 1})


@pytest.mark.parametrize("family", ["ViT", "Beit", "CLIP", "Swin"])
def test_position_embeddings_are_interpolated_where_asked_for(family: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"use_absolute_position_embeddings": True} if family in {"Beit", "Swin"} else {}
    model = saved(tmp_path / "net", family, **changes)
    images = torch.rand(1, 3, 48, 64)
    backbone = FrozenBackbone(f"hf:{tmp_path / 'net'}", arguments={"interpolate_pos_encoding": True})
    with torch.no_grad():
        expected = model(images, interpolate_pos_encoding=True).logits
    assert torch.allclose(backbone(images).logits, expected, atol=1e-5)


@pytest.mark.parametrize("family", ["ViT", "CLIP"])
def test_another_size_without_that_names_the_argument(family: str, tmp_path: Path) -> None:
    saved(tmp_path / "net", family)
    with pytest.raises(ValueError, match=r"48, 64.*interpolate_pos_encoding"):
        FrozenBackbone(f"hf:{tmp_path / 'net'}")(torch.rand(1, 3, 48, 64))
    with pytest.raises(ValueError, match=r"position_embedding.*interpolate_pos_encoding: true"):
        FrozenBackbone(f"hf:{tmp_path / 'net'}", arguments={"image_size": 64})


def test_entries_of_the_configuration_are_arguments(folder: Path) -> None:
    backbone = FrozenBackbone(f"hf:{folder}", arguments={"attn_implementation": "eager", "layer_norm_eps": 0.5})
    model: Any = backbone.model
    assert model.vit.layernorm.eps == 0.5
    assert model.config._attn_implementation == "eager"
    plain = FrozenBackbone(f"hf:{folder}")
    assert backbone.structure != plain.structure
    assert backbone.arguments != plain.arguments


def test_the_configuration_counts_as_structure(folder: Path) -> None:
    """Modules of transformers read their configuration when they run, so that it is part of what they compute."""
    before = FrozenBackbone(f"hf:{folder}").structure
    assert FrozenBackbone(f"hf:{folder}").structure == before
    edit_config(folder, problem_type="multi_label_classification")
    assert FrozenBackbone(f"hf:{folder}").structure != before


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({}, {"imagesize": 3}, r"no argument 'imagesize'.*image_size"),
        ({}, {"num_channels": 1}, r"patch_embeddings.*num_channels|patch_embeddings.*\(32, 3, 8, 8\).*\(32, 1, 8, 8\)"),
        ({}, {"attn_implementation": "flash_attention_2"}, r"attn_implementation.*flash_attention_2.*sdpa"),
        ({"model_type": "bert", "architectures": ["BertModel"]}, {}, r"BertModel.*no image classifier"),
        ({"model_type": "mynet", "auto_map": {"AutoModel": "code.MyNet"}}, {}, r"'mynet'.*not run"),
        ({"model_type": "siglip2"}, {}, r"pixel_values"),
        ({"model_type": "imagegpt"}, {}, r"input_ids"),
        ({"num_hidden_layers": 3}, {}, r"lack 'vit\..*layer.*2.*backbone.weights"),
        ({"hidden_size": "many"}, {}, r"hf:.*cannot be built"),
    ],
)
def test_what_cannot_be_built(folder: Path, changes: dict[str, Any], arguments: dict[str, Any], message: str) -> None:
    edit_config(folder, **changes)
    with pytest.raises(ValueError, match=message):
        FrozenBackbone(f"hf:{folder}", arguments=arguments)


def test_code_of_the_folder_is_not_run(folder: Path) -> None:
    (folder / "code.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
    edit_config(folder, auto_map={"AutoModelForImageClassification": "code.Net", "AutoConfig": "code.Config"})
    FrozenBackbone(f"hf:{folder}")  # as transformers' own class of the model_type
    assert not (folder / "ran").exists()


def test_a_network_without_a_classifier(tmp_path: Path) -> None:
    saved(tmp_path / "vit", "ViT", "Model")
    with pytest.raises(ValueError, match=r"lack 'classifier"):
        FrozenBackbone(f"hf:{tmp_path / 'vit'}")
    saved(tmp_path / "clip", "CLIP", "Model")
    with pytest.raises(ValueError, match=r"lack 'classifier.*class_embeddings"):
        FrozenBackbone(f"hf:{tmp_path / 'clip'}")


def test_tensors_that_are_left_over_are_told(folder: Path) -> None:
    edit_config(folder, num_hidden_layers=1)
    with pytest.warns(UserWarning, match=r"left out, such as 'vit\..*layer.*1"):
        FrozenBackbone(f"hf:{folder}")


def test_files_that_are_not_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no_such.*does not exist"):
        FrozenBackbone(f"hf:{tmp_path / 'no_such'}")
    with pytest.raises(ValueError, match=r"'pretrained'.*must be a local file"):
        FrozenBackbone(f"hf:{folder}", "pretrained")
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"hf:.*cannot be built"):
        FrozenBackbone(f"hf:{folder}")
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no model.safetensors"):
        FrozenBackbone(f"hf:{folder}")
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json is no JSON"):
        FrozenBackbone(f"hf:{folder}")
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no config.json"):
        FrozenBackbone(f"hf:{folder}")


def test_transformers_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'vitrine\[hf\]'"):
        FrozenBackbone("hf:anywhere")
