"""Exported folders load alone, anywhere: each explainer with each way of giving its backbone."""

import importlib
import json
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

import vitrine
from tests.helpers.hugging_face_folders import saved
from tests.helpers.own_network import OwnNetwork
from vitrine.backbones.class_embeddings import write_class_embeddings
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.networks import BackboneOptions, build_network
from vitrine.backbones.weight_files import recorded_classes
from vitrine.explainers import (
    Explainer,
    InversionExplainer,
    InversionOptions,
    MaskingExplainer,
    MaskingOptions,
    MuLassoExplainer,
    MuLassoOptions,
    SelectedFeaturesExplainer,
    SRAEExplainer,
    SRAEOptions,
    XFeatureOptions,
)
from vitrine.explainers.attribution import AttributionExplainer, AttributionOptions
from vitrine.explainers.saving import BACKBONE_NAME, CONFIG_NAME

CLASSES = ["ant", "bee", "cat", "dog", "eel", "fox"]
FEATURES = {
    "squeezenet1_1": "features.12",
    "timm:resnet10t": "layer4",
    "own": "relu",
    "FlowerNet": "features",
    "hf": "resnet.encoder.stages.1.layers.0",
    "zero-shot": "image_tower.layer4",
}
"""The layer whose activations are looked at, by network."""


class Way(NamedTuple):
    """A way of giving a backbone, and what loading it takes beside the folder."""

    network: str
    make: Callable[[Path], FrozenBackbone]
    allow: tuple[str, ...] = ()
    logits: int = 4
    """Logits."""
    recorded: bool = True
    """Whether their number is known to suit the constructor."""


def squeezenet() -> nn.Module:
    return build_network("squeezenet1_1", num_classes=4)


def recorded(folder: Path) -> FrozenBackbone:
    """As `ClassifierModule.export` writes it."""
    metadata = {"name": "squeezenet1_1", "num_classes": "4", "classes": "\n".join(CLASSES[:4])}
    save_file(squeezenet().state_dict(), folder / "classifier.safetensors", metadata=metadata)
    return FrozenBackbone.from_options(BackboneOptions("squeezenet1_1", "classifier.safetensors"))


def checkpoint(folder: Path) -> FrozenBackbone:
    state = {f"module.{name}": value for name, value in squeezenet().state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, folder / "best.pth.tar")
    return FrozenBackbone("squeezenet1_1", "best.pth.tar")


def other_head(_: Path) -> FrozenBackbone:
    model = torchvision.models.squeezenet1_1()
    model.classifier[1] = nn.Conv2d(512, 4, 1)
    return FrozenBackbone(model)


def own_file(folder: Path) -> FrozenBackbone:
    torch.save(OwnNetwork(4).state_dict(), folder / "own.pt")
    return FrozenBackbone("own_nets_of_a_test:Net", "own.pt")


def unrecorded(folder: Path) -> FrozenBackbone:
    """As others write it: nothing says how many classes there are."""
    save_file(squeezenet().state_dict(), folder / "weights.safetensors")
    return FrozenBackbone("squeezenet1_1", "weights.safetensors")


def class_in_file(_: Path) -> FrozenBackbone:
    return FrozenBackbone("../own_nets_of_a_test.py:Net", num_classes=4)


def own_module(_: Path) -> FrozenBackbone:
    module = importlib.import_module("own_nets_of_a_test")
    return FrozenBackbone(module.Net(4))


def hugging_face(folder: Path) -> FrozenBackbone:
    pytest.importorskip("transformers")
    saved(folder / "net", "ResNet", classes=CLASSES[:4])
    return FrozenBackbone("hf:net", arguments={"hidden_act": "gelu"})


def zero_shot(folder: Path) -> FrozenBackbone:
    write_class_embeddings(folder / "classes.safetensors", torch.randn(4, 512), CLASSES[:4])
    return FrozenBackbone("timm:resnet10t", arguments={"class_embeddings": "classes.safetensors"})


ALLOW = ("own_nets_of_a_test",)
ALLOW_FILE = ("../own_nets_of_a_test.py",)
WAYS = {
    "name": Way("squeezenet1_1", lambda _: FrozenBackbone("squeezenet1_1", num_classes=4)),
    "classifier.safetensors": Way("squeezenet1_1", recorded),
    "checkpoint": Way("squeezenet1_1", checkpoint),
    "file without a record": Way("squeezenet1_1", unrecorded),
    "head replaced": Way("squeezenet1_1", other_head),
    "timm": Way("timm:resnet10t", lambda _: FrozenBackbone("timm:resnet10t", num_classes=4)),
    "timm's module": Way("timm:resnet10t", lambda _: FrozenBackbone(timm.create_model("resnet10t", num_classes=4))),
    "own class": Way("own", lambda _: FrozenBackbone("own_nets_of_a_test:Net", num_classes=4), ALLOW),
    "own file": Way("own", own_file, ALLOW),
    "own module": Way("own", own_module, ALLOW),
    "class in a file": Way("own", class_in_file, ALLOW_FILE),
    "class in a file, with its own number": Way(
        "own", lambda _: FrozenBackbone("../own_nets_of_a_test.py:Four"), ALLOW_FILE, recorded=False
    ),
    "hf folder": Way("hf", hugging_face),
    "zero-shot": Way("zero-shot", zero_shot),
    "package's own number": Way(
        "FlowerNet", lambda _: FrozenBackbone("vitrine.data.an8flower.network:FlowerNet"), logits=6
    ),
    "package": Way("FlowerNet", lambda _: FrozenBackbone("vitrine.data.an8flower.network:FlowerNet", num_classes=4)),
}
EXPLAINERS: dict[str, Callable[[FrozenBackbone, str, list[str]], Explainer]] = {
    "SRAE": lambda b, layer, names: SRAEExplainer(
        b, SRAEOptions(layer, num_features=2, hidden=(), image_size=64), names
    ),
    "mu-Lasso": lambda b, layer, names: MuLassoExplainer(
        b, MuLassoOptions([layer], num_heatmaps=2, image_size=64), names
    ),
    "inversion": lambda b, layer, names: InversionExplainer(
        b, InversionOptions(predictor=4, image_size=64, inversion_layer=layer, mask_layers=[layer]), names
    ),
    "inversion without a predictor": lambda b, layer, names: InversionExplainer(
        b, InversionOptions(image_size=64, inversion_layer=layer, mask_layers=[layer]), names
    ),
    "selected": lambda b, layer, names: SelectedFeaturesExplainer(
        b, XFeatureOptions(layer, num_features=2, image_size=64), names
    ),
    "masking": lambda b, layer, names: MaskingExplainer(b, MaskingOptions([layer], width=4, image_size=64), names),
    "attribution": lambda b, _, names: AttributionExplainer(b, AttributionOptions("Saliency", image_size=64), names),
}


def make_explainer(kind: str, backbone: FrozenBackbone, layer: str, count: int = 4) -> Explainer:
    return EXPLAINERS[kind](backbone, layer, CLASSES[:count])


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Way:
    (tmp_path / "run").mkdir()
    module = "from tests.helpers.own_network import OwnNetwork\n\nclass Net(OwnNetwork):\n    pass\n\n"
    module += "class Four(OwnNetwork):\n    def __init__(self):\n        super().__init__(4)\n"
    (tmp_path / "own_nets_of_a_test.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_nets_of_a_test", raising=False)
    monkeypatch.chdir(tmp_path / "run")
    found: Way = WAYS[request.param]
    return found


def test_folders_load_alone(way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        backbone = way.make(tmp_path / "run")
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    for kind in EXPLAINERS:
        explainer = make_explainer(kind, backbone, FEATURES[way.network], way.logits)
        explainer.save(tmp_path / "run" / kind)
        entry = json.loads((tmp_path / "run" / kind / CONFIG_NAME).read_text())["backbone"]
        assert entry["num_classes"] == (way.logits if way.recorded else None)
        shutil.move(tmp_path / "run" / kind, tmp_path / f"moved {kind}")
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for kind in EXPLAINERS:
        loaded = vitrine.load(tmp_path / f"moved {kind}", allow=way.allow)
        assert loaded.backbone.digest == backbone.digest
        assert loaded.options.to_dict() == json.loads((tmp_path / f"moved {kind}" / CONFIG_NAME).read_text())["options"]
        assert torch.equal(loaded.backbone(images).logits, backbone(images).logits), kind
        assert recorded_classes(tmp_path / f"moved {kind}" / BACKBONE_NAME) == CLASSES[: way.logits]
        if way.allow:
            with pytest.raises(
                ValueError, match=r"or allow its (module: allow=\('own_nets|file: allow=\('/.*own_nets.*py')"
            ):
                vitrine.load(tmp_path / f"moved {kind}")
            vitrine.load(tmp_path / f"moved {kind}", backbone=backbone.model)


def test_a_loaded_explainer_is_saved_again(tmp_path: Path) -> None:
    explainer = make_explainer("SRAE", FrozenBackbone("squeezenet1_1", num_classes=4), "features.12")
    explainer.save(tmp_path / "first")
    vitrine.load(tmp_path / "first").save(tmp_path / "first")  # in its own place
    vitrine.load(tmp_path / "first").save(tmp_path / "second")
    shutil.rmtree(tmp_path / "first")
    assert vitrine.load(tmp_path / "second").backbone.digest == explainer.backbone.digest


def test_files_that_are_not_bundled_are_found_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    explainer = make_explainer("SRAE", recorded(tmp_path), "features.12")
    explainer.save("explainer", bundle_backbone=False)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert vitrine.load(tmp_path / "explainer").backbone.digest == explainer.backbone.digest


def test_folders_that_do_not_say_how_many_logits(tmp_path: Path) -> None:
    """As they were exported before: null, and weights without a record."""
    explainer = make_explainer("SRAE", FrozenBackbone("squeezenet1_1", num_classes=4), "features.12")
    explainer.save(tmp_path / "explainer")
    path = tmp_path / "explainer" / CONFIG_NAME
    config = json.loads(path.read_text())
    config["backbone"]["num_classes"] = None
    path.write_text(json.dumps(config))
    save_file(explainer.backbone.model.state_dict(), tmp_path / "explainer" / BACKBONE_NAME)
    assert vitrine.load(tmp_path / "explainer").backbone.digest == explainer.backbone.digest


def test_arguments_that_are_classes(tmp_path: Path) -> None:
    """They have no JSON type: the network is passed."""
    backbone = FrozenBackbone("resnet18", num_classes=4, arguments={"norm_layer": nn.InstanceNorm2d})
    explainer = make_explainer("SRAE", backbone, "layer4")
    explainer.save(tmp_path / "explainer")
    with pytest.raises(ValueError, match="backbone=NETWORK"):
        vitrine.load(tmp_path / "explainer")
    assert vitrine.load(tmp_path / "explainer", backbone=backbone).classes == CLASSES[:4]


def test_what_a_table_sets_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torchvision builds GoogLeNet otherwise with weights of its table than with the same from a file."""
    torch.manual_seed(0)
    state = torchvision.models.googlenet(num_classes=1000, init_weights=False).state_dict()
    monkeypatch.setattr(type(torchvision.models.GoogLeNet_Weights.DEFAULT), "get_state_dict", lambda *_, **__: state)
    backbone = FrozenBackbone("googlenet", "DEFAULT")
    images = torch.rand(1, 3, 64, 64)
    explainer = SRAEExplainer(backbone, SRAEOptions("inception5b", explained_classes=[3], image_size=64))
    explainer.save(tmp_path / "explainer", bundle_backbone=True)
    for given in (None, backbone):
        loaded = vitrine.load(tmp_path / "explainer", backbone=given)
        assert torch.equal(loaded.backbone(images).logits, backbone(images).logits)


class Paired(OwnNetwork):
    """A network that returns its logits beside something else."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        """Logits of both signs."""
        logits = super().forward(images)
        return {"first": -logits, "second": logits}


def test_which_part_of_the_output_is_explained(tmp_path: Path) -> None:
    network, images = Paired(), torch.rand(2, 3, 64, 64)
    explainer = make_explainer("SRAE", FrozenBackbone(network, output="second"), "relu")
    explainer.save(tmp_path / "by name")
    logits = vitrine.load(tmp_path / "by name", backbone=network).backbone(images).logits
    assert torch.equal(logits, network.eval()(images)["second"])
    backbone = FrozenBackbone(network, output=lambda output: output["first"])
    make_explainer("SRAE", backbone, "relu").save(tmp_path / "by function")
    assert vitrine.load(tmp_path / "by function", backbone=backbone).backbone is backbone
    for given in (None, network):
        with pytest.raises(ValueError, match=r"function .*backbone=FrozenBackbone\(NETWORK, output=FUNCTION\)"):
            vitrine.load(tmp_path / "by function", backbone=given)


def test_weights_that_no_file_holds(tmp_path: Path) -> None:
    class Sparse(OwnNetwork):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mask", torch.eye(3).to_sparse())

    network = Sparse()
    explainer = make_explainer("SRAE", FrozenBackbone(network), "relu")
    with pytest.warns(UserWarning, match="'mask' is no plain tensor"):
        explainer.save(tmp_path / "explainer")
    assert not (tmp_path / "explainer" / BACKBONE_NAME).exists()
    vitrine.load(tmp_path / "explainer", backbone=network)


def test_a_class_in_a_file_that_has_moved(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    module = "from tests.helpers.own_network import OwnNetwork as Base\n\nclass Net(Base):\n    pass\n"
    (tmp_path / "here" / "nets_that_move.py").write_text(module)
    backbone = FrozenBackbone(f"{tmp_path}/here/nets_that_move.py:Net")
    make_explainer("SRAE", backbone, "relu", 3).save(tmp_path / "explainer")
    shutil.move(tmp_path / "here" / "nets_that_move.py", tmp_path / "there" / "nets_that_move.py")
    with pytest.raises(ValueError, match=r"backbone='nets_that_move\.py:Net'\), or allow its file"):
        vitrine.load(tmp_path / "explainer")
    loaded = vitrine.load(tmp_path / "explainer", backbone=f"{tmp_path}/there/nets_that_move.py:Net")
    assert loaded.backbone.digest == backbone.digest
