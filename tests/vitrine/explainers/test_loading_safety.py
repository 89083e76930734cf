"""Loading imports, calls, downloads and unpickles nothing that explainer.json names and the caller did not allow."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import vitrine
from tests.helpers.own_network import OwnNetwork
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.explainers import SRAEExplainer, SRAEOptions
from vitrine.explainers.saving import BACKBONE_NAME, CONFIG_NAME

MODULE = """
import torch
from tests.helpers.own_network import OwnNetwork
from vitrine.backbones.frozen import FrozenBackbone

class Net(OwnNetwork):
    def __init__(self, num_classes=3, width=1):
        open("called", "w").close()
        super().__init__(num_classes)

def make(num_classes=3):
    open("called", "w").close()

open("imported", "w").close()
"""


def saved_network() -> nn.Module:
    torch.manual_seed(0)
    return OwnNetwork()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A saved explainer of a network whose class stands in the current folder."""
    (tmp_path / "nets_of_somebody.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "nets_of_somebody", raising=False)
    explainer = SRAEExplainer(
        FrozenBackbone(saved_network()), SRAEOptions("relu", num_features=2, hidden=(), image_size=8)
    )
    explainer.save(tmp_path / "explainer")
    rewrite(tmp_path / "explainer", name="nets_of_somebody:Net")
    return tmp_path / "explainer"


def rewrite(folder: Path, **backbone: Any) -> None:
    path = folder / CONFIG_NAME
    config = json.loads(path.read_text())
    config["backbone"] |= backbone
    path.write_text(json.dumps(config))


NAMES = [
    ("nets_of_somebody:Net", {}),
    ("nets_of_somebody:make", {}),
    ("os:system", {"command": "touch called"}),
    ("subprocess:Popen", {"args": ["touch", "called"]}),
    ("shutil:rmtree", {"path": "."}),
    ("builtins:exec", {"source": "open('called', 'w')"}),
    ("importlib:import_module", {"name": "nets_of_somebody"}),
    ("torch:load", {"f": "w.pth", "weights_only": False}),
    ("torch.nn:Linear", {"in_features": 2, "out_features": 2}),
    ("tests.helpers.own_network:OwnNetwork", {}),
    ("vitrine.backbones.frozen:FrozenBackbone", {"network": "nets_of_somebody:Net"}),
    ("vitrine.data.an8flower.network:torch.load", {"f": "w.pth"}),
    ("vitrine.an8flower.__main__:x", {}),
    ("timm:hf-hub:somebody/resnet18", {}),
    ("timm:local-dir:.", {}),
    ("timm:resnet18.hf-hub:somebody/x", {}),
    ("timm:nets_of_somebody", {}),
    ("nets_of_somebody", {}),
    ("nets_of_somebody:", {}),
    (".nets_of_somebody:Net", {}),
    ("", {}),
]
REMEDY = "pass the network|backbone=NETWORK"


@pytest.mark.parametrize(("name", "arguments"), NAMES)
@pytest.mark.parametrize("is_bundled", [True, False])
def test_no_name_is_imported_or_called(name: str, arguments: dict[str, Any], is_bundled: bool, folder: Path) -> None:
    rewrite(folder, name=name, arguments=arguments)
    if not is_bundled:
        (folder / BACKBONE_NAME).unlink()
    for allow in ((), ("nets_of_somebod",), ("nets_of_somebody.others", "o", "sub")):
        with pytest.raises(ValueError, match=REMEDY):
            vitrine.load(folder, allow=allow)
    assert not {"imported", "called"} & {path.name for path in Path.cwd().iterdir()}
    assert "nets_of_somebody" not in sys.modules
    assert type(vitrine.load(folder, backbone=saved_network())) is SRAEExplainer


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("resnet18", "pretrained"),
        ("resnet18", "weights"),
        ("resnet18", "weights_backbone"),
        ("timm:resnet10t", "pretrained"),
        ("timm:resnet10t", "checkpoint_path"),
        ("timm:resnet10t", "pretrained_cfg"),
        ("timm:resnet10t", "pretrained_cfg_overlay"),
        ("timm:resnet10t", "cache_dir"),
    ],
)
def test_arguments_that_read_or_download(name: str, key: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetched(*_: object, **__: object) -> None:
        raise AssertionError("something was fetched")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", fetched)
    monkeypatch.setattr("timm.models._factory.load_checkpoint", fetched)
    rewrite(folder, name=name, arguments={key: "w.pth"})
    with pytest.raises(ValueError, match=f"arguments.{key} of network"):
        vitrine.load(folder)


@pytest.mark.parametrize("allow", ["nets_of_somebody", ["nets_of_somebody."], ("nets_of_somebody:Net",)])
def test_what_is_allowed_is_loaded(allow: Any, folder: Path) -> None:
    loaded = vitrine.load(folder, allow=allow)
    assert type(loaded.backbone.model).__name__ == "Net"
    assert Path("called").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "nets_of_somebody:make"}, "is a function, no class of torch's Module"),
        ({"name": "nets_of_somebody:torch"}, "is a module, no class"),
        ({"name": "nets_of_somebody:FrozenBackbone"}, r"is a class of vitrine\.backbones\.frozen"),
        ({"name": "nets_of_somebody:OwnNetwork"}, r"is a class of tests\.helpers"),
        ({"arguments": {"no_such": 1}}, "cannot be built with the arguments .*no_such"),
        ({"arguments": ["x"]}, "backbone: arguments is"),
        ({"num_classes": "3"}, "backbone: num_classes is '3'"),
        ({"num_classes": 0}, "backbone: num_classes is 0"),
        ({"num_classes": 7}, r"'classifier\.bias' has shape \(3,\) there and \(7,\)"),
        ({"further": 1}, "BackboneOptions has no option 'further'"),
        ({"name": ["nets_of_somebody:Net"]}, "backbone: name is"),
        ({"weights": 7}, "backbone: weights is 7"),
    ],
)
def test_allowed_modules_are_checked_too(changes: dict[str, Any], message: str, folder: Path) -> None:
    rewrite(folder, **changes)
    with pytest.raises(ValueError, match=message):
        vitrine.load(folder, allow=("nets_of_somebody",))
    assert Path("called").exists() == (changes == {"num_classes": 7})


@pytest.mark.parametrize("backbone", [3, OwnNetwork, {"name": "os:system"}])
def test_what_is_no_backbone(backbone: Any, folder: Path) -> None:
    with pytest.raises(ValueError, match="give the network itself"):
        vitrine.load(folder, backbone=backbone)


def test_the_explainers_class(folder: Path) -> None:
    path = folder / CONFIG_NAME
    text = path.read_text()
    network = saved_network()
    for class_path, message in (
        ("nets_of_somebody:Net", "not known here"),
        ("os:system", "not known here"),
        ("", "explainer 'Other'"),
    ):
        path.write_text(json.dumps(json.loads(text) | {"class_path": class_path, "explainer": "Other"}))
        with pytest.raises(ValueError, match=message):
            vitrine.load(folder, backbone=network)
        assert not Path("imported").exists()
    path.write_text(json.dumps(json.loads(text) | {"class_path": "nets_of_somebody:Net", "explainer": "Net"}))
    with pytest.raises(ValueError, match="does not inherit vitrine's Explainer"):
        vitrine.load(folder, backbone=network, allow=("nets_of_somebody",))
    path.write_text(text)
    for kind in (OwnNetwork, "SRAEExplainer", OwnNetwork()):
        with pytest.raises(ValueError, match="give the explainer's class"):
            vitrine.load(folder, backbone=network, explainer=kind)  # type: ignore[arg-type]


@pytest.mark.usefixtures("folder")
def test_configurations_of_ones_own() -> None:
    """A name in a configuration is imported, from the current folder too, and has to be that of a network."""
    assert type(FrozenBackbone("nets_of_somebody:Net").model).__name__ == "Net"
    Path("called").unlink()
    for name, message in (
        ("os:system", "'os:system' is a .*, no class"),
        ("nets_of_somebody:make", "is a function, no class"),
        ("subprocess:Popen", "does not inherit"),
    ):
        with pytest.raises(ValueError, match=message):
            FrozenBackbone(name, arguments={"command": "touch called"})
    assert not Path("called").exists()


@pytest.mark.parametrize("device", ["nonsense", "", "cpu:x"])
def test_devices_that_are_not_there(device: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=f"device is '{device}', which cannot be used"):
        vitrine.load(folder, backbone=saved_network(), device=device)
