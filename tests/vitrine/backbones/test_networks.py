"""Networks by name: torchvision's, timm's and one's own, and names that are wrong."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import Tensor

from tests.helpers.own_network import OwnNetwork
from vitrine.backbones.copying import weight_digest
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.networks import BackboneOptions, build_network


def test_own_class_by_name(tmp_path: Path) -> None:
    module = ModuleType("network_of_a_user")
    module.Net = OwnNetwork  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    backbone = FrozenBackbone("network_of_a_user:Net", arguments={"num_classes": 4})
    assert backbone(torch.rand(1, 3, 8, 8)).logits.shape == (1, 4)


def test_timm_by_name(images: Tensor) -> None:
    backbone = FrozenBackbone("timm:resnet10t", num_classes=4)
    assert backbone(images, taps=["layer4"]).logits.shape == (2, 4)
    with pytest.raises(ValueError, match=r"no model named 'resnet10q'.*near names"):
        FrozenBackbone("timm:resnet10q")
    with pytest.raises(ValueError, match="'IMAGENET1K_V1' are unknown to timm"):
        FrozenBackbone("timm:resnet10t", weights="IMAGENET1K_V1")


def test_timm_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'vitrine\[timm\]'"):
        FrozenBackbone("timm:resnet10t")


def test_weights_from_the_public_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table's own loader is called; the download itself is stood in for, since tests have no network."""
    state = torchvision.models.resnet18().state_dict()
    entry = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    asked: list[Any] = []

    def download(self: Any, **_: Any) -> dict[str, Tensor]:
        asked.append(self)
        return state

    monkeypatch.setattr(type(entry), "get_state_dict", download)
    backbone = FrozenBackbone("resnet18", weights="IMAGENET1K_V1")
    assert asked == [entry]
    assert backbone.digest == weight_digest(state)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"network": "resnet19"}, r"no classifier named 'resnet19'.*resnet18"),
        ({"network": "resnet18", "weights": "IMAGENET"}, r"'IMAGENET' are neither a file.*IMAGENET1K_V1"),
        ({"network": "no.such.place:Net"}, r"'no.such.place:Net' cannot be imported"),
        ({"network": "torch.nn:NoNet"}, r"'torch.nn:NoNet' cannot be imported"),
        ({"network": "torch.nn:Identity", "weights": "DEFAULT"}, r"must be a local file"),
    ],
)
def test_wrong_names(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrozenBackbone(**arguments)  # type: ignore[arg-type]


def test_options_name_a_file_only_by_its_suffix() -> None:
    assert BackboneOptions("resnet18", "DEFAULT").weight_file is None
    assert BackboneOptions("resnet18", "a/b.pth").weight_file == Path("a/b.pth")


def test_weights_that_cannot_be_fetched_are_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    with pytest.raises(OSError, match=r"weights of .resnet18. cannot be fetched \(.*not known.*\); go online"):
        build_network("resnet18", "DEFAULT")
