"""Class names that networks know, from tables and files that are at hand."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vitrine.backbones.class_names import imagenet_aliases, network_classes
from vitrine.backbones.networks import BackboneOptions


def test_torchvision_weights_know_imagenet_without_being_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: pytest.fail("downloaded"))
    names = network_classes(BackboneOptions("mobilenet_v2", "DEFAULT"), 1000)
    assert names is not None
    assert [len(names), names[0][0], names[999][0]] == [1000, "tench", "toilet tissue"]
    assert network_classes(BackboneOptions("mobilenet_v2", "DEFAULT"), 7) is None  # another last layer


def test_a_weight_file_knows_what_it_was_trained_on(tmp_path: Path) -> None:
    for name, metadata in {"named": {"classes": "ant\nbee"}, "bare": None}.items():
        save_file({"weight": torch.zeros(2)}, tmp_path / f"{name}.safetensors", metadata=metadata)
    named = BackboneOptions("resnet18", str(tmp_path / "named.safetensors"))
    assert network_classes(named, 2) == [("ant",), ("bee",)]
    assert network_classes(named, 3) is None
    assert network_classes(BackboneOptions("resnet18", str(tmp_path / "bare.safetensors")), 2) is None
    assert network_classes(BackboneOptions("resnet18", str(tmp_path / "old.pth")), 2) is None


@pytest.mark.parametrize("name", ["resnet18", "timm:resnet18", "package.module:Net"])
def test_random_weights_know_none(name: str) -> None:
    assert network_classes(BackboneOptions(name), 1000) is None


def test_timm_knows_words_and_wordnet_ids() -> None:
    pytest.importorskip("timm")
    names = network_classes(BackboneOptions("timm:resnet18", "pretrained"), 1000)
    assert names is not None
    assert names[0] == ("tench", "tench", "Tinca tinca", "n01440764")
    assert len({aliases[0] for aliases in names}) == 1000
    assert network_classes(BackboneOptions("timm:resnet18", "pretrained"), 21843) is None


def test_without_timm_torchvision_names_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    imagenet_aliases.cache_clear()
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.setattr("vitrine.backbones.class_names.find_spec", lambda _: None)
    names = network_classes(BackboneOptions("resnet18", "DEFAULT"), 1000)
    imagenet_aliases.cache_clear()
    assert names is not None
    assert names[0] == ("tench",)
