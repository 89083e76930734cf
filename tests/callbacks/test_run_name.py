"""Names of runs: explainer, network and data set."""

from types import SimpleNamespace
from typing import Any

import pytest

from callbacks.run_name import RunName
from lightning_modules import SRAEModule
from tests.helpers.flat_options import make_flat
from vitrine.backbones.networks import BackboneOptions


class CUBDataModule:
    shards = "data/cub"


class FolderDataModule:
    root = "/somewhere/My Birds"


OWN = BackboneOptions("tests.helpers.own_network:OwnNetwork")


def srae() -> Any:
    return make_flat(SRAEModule, OWN, layer="conv", num_features=2, hidden=(4,), image_size=8)


def test_explainer_network_and_data_set_are_its_parts() -> None:
    name = RunName.of(srae(), CUBDataModule())
    assert str(name) == "srae-ownnetwork-cub"
    assert name.tags == ["srae", "ownnetwork", "cub"]


def test_a_set_of_any_images_is_called_as_its_folder() -> None:
    assert RunName.of(srae(), FolderDataModule()).data == "my-birds"
    assert RunName.of(srae(), None).data == ""


@pytest.mark.parametrize(
    ("network", "expected"),
    [("resnet18", "resnet18"), ("timm/vit_tiny_patch16_224", "vit_tiny_patch16_224"), ("hf:folder/model", "model")],
)
def test_networks_are_called_without_where_they_come_from(network: str, expected: str) -> None:
    module: Any = type("MuLassoModule", (), {"backbone": BackboneOptions(network)})()
    name = RunName.of(module, None)
    assert (name.explainer, name.backbone) == ("mu-lasso", expected)


def test_a_method_gives_its_name() -> None:
    module: Any = SimpleNamespace(explainer=SimpleNamespace(options=SimpleNamespace(method="GradCAM")))
    assert RunName.of(module, None).explainer == "gradcam"
