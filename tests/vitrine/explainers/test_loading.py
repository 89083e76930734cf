"""Folders that an earlier release saved, and explainers of one's own: both load, or say what is missing."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import vitrine
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.explanation import Explanation
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers import (
    Explainer,
    InversionExplainer,
    InversionOptions,
    MuLassoExplainer,
    MuLassoOptions,
    SelectedFeaturesExplainer,
    SRAEExplainer,
    SRAEOptions,
    XFeatureOptions,
)
from vitrine.explainers.saving import BACKBONE_NAME, CONFIG_NAME, HEADS_NAME

FLOWER_NET = "vitrine.data.an8flower.network:FlowerNet"
CLASSES = ["ant", "bee", "cat"]
PREPROCESSING = Preprocessing(64, None)


@pytest.fixture
def backbone() -> FrozenBackbone:
    torch.manual_seed(0)
    return FrozenBackbone(FLOWER_NET, num_classes=3, arguments={"width": 4})


@pytest.fixture
def pictures() -> Tensor:
    return torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def assert_same_explanations(explainer: Explainer, other: Explainer, images: Tensor) -> None:
    """To the last bit, in all fields."""
    for target in (None, 2):
        one, two = vars(explainer.explain(images, target)), vars(other.explain(images, target))
        assert one["heatmaps"].any()
        assert one.keys() == two.keys()
        for name, value in one.items():
            same = torch.equal(value, two[name]) if isinstance(value, Tensor) else value == two[name]
            assert same, name


# Folders of the earlier release


class Saved(NamedTuple):
    """An explainer, and what its folder was like when options were flat."""

    explainer: Explainer
    options: dict[str, Any]
    facts: dict[str, Any]
    renamed: dict[str, str]
    """Last names of tensors: today's, and what they were."""


def randomised(explainer: Explainer) -> None:
    generator = torch.Generator().manual_seed(2)
    for parameter in explainer.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)


def separate_srae(backbone: FrozenBackbone) -> Saved:
    options = SRAEOptions("features", explained_classes=[0, 2], num_features=3, hidden=(7, 5), image_size=64)
    explainer = SRAEExplainer(backbone, options, CLASSES, PREPROCESSING)
    randomised(explainer)
    explainer.heads.drop(torch.tensor([[True, False, False], [False, False, True]]))
    flat = {
        "layer": "features",
        "explained_classes": [0, 2],
        "pooling": "average",
        "contrastive": True,
        "negative_activations": "clamp",
        "draw_silent": False,
        "image_size": 64,
        "x_features": 3,
        "hidden": [7, 5],
        "trunk": "separate",
        "decoder": True,
    }
    return Saved(explainer, flat, {"epochs": 3, "live_x_features": {"ant": 2, "cat": 1}}, {"alive": "live"})


def shared_srae(backbone: FrozenBackbone) -> Saved:
    options = SRAEOptions(
        "features.5", "positions", [2, 1], num_features=2, hidden=(6,), trunk="shared", decoder=False, image_size=64,
        contrastive=False, negative_activations="zplus", draw_inactive=True,
    )  # fmt: skip
    explainer = SRAEExplainer(backbone, options, CLASSES, PREPROCESSING)
    randomised(explainer)
    explainer.heads.drop(torch.tensor([[True, False], [False, False]]))
    flat = {
        "layer": "features.5",
        "explained_classes": [2, 1],
        "pooling": "positions",
        "contrastive": False,
        "negative_activations": "zplus",
        "draw_silent": True,
        "image_size": 64,
        "x_features": 2,
        "hidden": [6],
        "trunk": "shared",
        "decoder": False,
    }
    return Saved(explainer, flat, {"epochs": 6}, {"is_alive": "taking_part"})


def selected_features(backbone: FrozenBackbone) -> Saved:
    options = XFeatureOptions("features", num_features=2, image_size=64)
    explainer = SelectedFeaturesExplainer(backbone, options, CLASSES, PREPROCESSING)
    weights = torch.randn(3, 16, generator=torch.Generator().manual_seed(4))
    explainer.select(torch.tensor([[1, 5], [2, -1], [0, 3]]), weights, torch.tensor([0.5, 0.25, -1.0]))
    flat = {
        "layer": "features",
        "explained_classes": [0, 1, 2],
        "pooling": "average",
        "contrastive": True,
        "negative_activations": "clamp",
        "draw_silent": False,
        "image_size": 64,
        "x_features": 2,
    }
    return Saved(explainer, flat, {"epochs": 1}, {"is_alive": "taking_part"})


def mu_lasso(backbone: FrozenBackbone) -> Saved:
    options = MuLassoOptions(
        ["features.5", "features.8"], "squared", scaling="standardized", mu=0.5, num_heatmaps=3, aggregation="sum",
        sigma=1.5, activation_threshold=0.25, image_size=64, absent="show",
    )  # fmt: skip
    explainer = MuLassoExplainer(backbone, options, CLASSES, PREPROCESSING)
    generator = torch.Generator().manual_seed(3)
    for tensor, largest in ((explainer.weights.data, 1), (explainer.median_maxima, 1), (explainer.scaling.shift, 0.01)):
        tensor.copy_(largest * torch.rand(tensor.shape, generator=generator))
    explainer.intercept.copy_(torch.tensor([0.25, 0.5, 0.125]))
    flat = {
        "layers": ["features.5", "features.8"],
        "norm": "squared",
        "normalization": "layer",
        "scaling": "standardized",
        "mu": 0.5,
        "heatmaps": 3,
        "aggregation": "sum",
        "stride_one": True,
        "pooling": "switches",
        "sigma": 1.5,
        "floor": 0.25,
        "image_size": 64,
    }
    facts = {"epochs": 1, "filters": 24, "solver": "exact", "largest_relative_gap": 1e-13}
    return Saved(explainer, flat, facts, {"median_maxima": "usual"})


def inversion(backbone: FrozenBackbone) -> Saved:
    overrides = {
        "inversion_steps": 0, "class_steps": 3, "suppression": 0.5, "background": "noise", "stop_when_converged": True,
    }  # fmt: skip
    options = InversionOptions("released", overrides, predictor=4, image_size=64, seed=5)
    explainer = InversionExplainer(backbone, options, CLASSES, PREPROCESSING)
    randomised(explainer)
    flat = {
        "variant": "released",
        "inversion_layer": "features",
        "mask_layers": ["features"],
        "predictor": 4,
        "inversion_steps": 0,
        "class_steps": 3,
        "learning_rate": None,
        "inversion_penalty": None,
        "class_penalty": None,
        "suppression": 0.5,
        "maps": None,
        "mask_from": None,
        "gate": None,
        "smoothing": None,
        "score": None,
        "background": "noise",
        "tolerance": None,
        "stop_at_rest": True,
        "image_size": 64,
        "seed": 5,
    }
    return Saved(explainer, flat, {"epochs": 2}, {})


def write_as_before(saved: Saved, folder: Path) -> None:
    """Turns a folder that was saved now into what the earlier release would have written, key by key."""
    config = {
        "format_version": 1,
        "explainer": type(saved.explainer).__name__,
        "options": saved.options,
        "classes": ["ant", "bee", "cat"],
        "backbone": {
            "name": "vitrine.an8flower.network:FlowerNet",
            "weights": None,
            "num_classes": 3,
            "arguments": {"width": 4},
        },
        "weight_digest": saved.explainer.backbone.digest,
        "preprocessing": {
            "size": 64,
            "resize": None,
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
        },
        "facts": saved.facts,
    }
    (folder / CONFIG_NAME).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    tensors = {}
    for name, value in load_file(folder / HEADS_NAME).items():
        path, dot, last = name.rpartition(".")
        tensors[f"{path}{dot}{saved.renamed.get(last, last)}"] = value
    assert {name.rpartition(".")[2] for name in tensors} >= set(saved.renamed.values())
    assert not {name.rpartition(".")[2] for name in tensors} & set(saved.renamed)
    save_file(tensors, folder / HEADS_NAME)


@pytest.mark.parametrize("make", [separate_srae, shared_srae, selected_features, mu_lasso, inversion])
def test_a_folder_of_the_earlier_release_explains_the_same(
    make: Callable[[FrozenBackbone], Saved], backbone: FrozenBackbone, pictures: Tensor, tmp_path: Path
) -> None:
    saved = make(backbone)
    saved.explainer.save(tmp_path / "explainer")
    now = vitrine.load(tmp_path / "explainer")
    assert (tmp_path / "explainer" / BACKBONE_NAME).is_file()
    write_as_before(saved, tmp_path / "explainer")
    before = vitrine.load(tmp_path / "explainer")
    for loaded in (now, before):
        assert type(loaded) is type(saved.explainer)
        assert loaded.options.to_dict() == saved.explainer.options.to_dict()
        assert loaded.classes == CLASSES
        assert loaded.preprocessing == PREPROCESSING
        assert_same_explanations(saved.explainer, loaded, pictures)
        state = saved.explainer.head_state()
        assert all(torch.equal(value, state[name]) for name, value in loaded.head_state().items())
    before.save(tmp_path / "again")
    assert_same_explanations(saved.explainer, vitrine.load(tmp_path / "again"), pictures)
    config = json.loads((tmp_path / "again" / CONFIG_NAME).read_text(encoding="utf-8"))
    assert config["class_path"] == f"{type(saved.explainer).__module__}:{type(saved.explainer).__name__}"
    assert config["options"] == json.loads(json.dumps(saved.explainer.options.to_dict()))
    assert not set(config["options"]) & {"x_features", "draw_silent", "heatmaps", "floor", "class_steps"}


@pytest.mark.parametrize(
    ("make", "entry", "message"),
    [
        (separate_srae, {"hidden": [7, 0]}, r"hidden\[1\] is 0; give"),
        (shared_srae, {"x_featurs": 2}, "SRAEOptions has no option 'x_featurs'"),
        (mu_lasso, {"floor": -1.0}, "activation_threshold is -1.0; give"),
        (inversion, {"score": "odds"}, "score is 'odds'; give"),
    ],
)
def test_wrong_options_in_a_folder_are_refused(
    make: Callable[[FrozenBackbone], Saved],
    entry: dict[str, Any],
    message: str,
    backbone: FrozenBackbone,
    tmp_path: Path,
) -> None:
    saved = make(backbone)
    saved.explainer.save(tmp_path / "explainer")
    write_as_before(saved._replace(options={**saved.options, **entry}), tmp_path / "explainer")
    with pytest.raises(ValueError, match=message):
        vitrine.load(tmp_path / "explainer")


# Explainers of one's own


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> dict[str, type[Explainer]]:
    """A registry that a test may fill as it likes."""
    registry = dict(Explainer.registered)
    monkeypatch.setattr(Explainer, "registered", registry)
    return registry


class Plain(Explainer):
    """An explainer that shows the image itself."""

    def explain_batch(self, images: Tensor, target: Any) -> Explanation:
        logits = self.backbone(images).logits
        classes = logits.argmax(dim=1) if target is None else torch.full((len(images),), target)
        labels = [["image"]] * len(images)
        return Explanation(images[:, :1], images[:, :1, 0, 0], labels, logits.argmax(dim=1), classes, logits)


def defined(name: str, module: str) -> type[Explainer]:
    return type(name, (Plain,), {"__module__": module})


def test_a_second_class_of_the_same_name_is_refused(registered: dict[str, type[Explainer]]) -> None:
    first = defined("Shades", "studio.shades")
    with pytest.raises(ValueError, match=r"studio\.shades:Shades already; give the second one another name"):
        defined("Shades", "studio.shades")
    assert registered["studio.shades:Shades"] is first
    other = defined("Shades", "studio.others")
    assert registered["studio.others:Shades"] is other


def test_a_cell_of_a_notebook_may_run_again(registered: dict[str, type[Explainer]]) -> None:
    defined("Shades", "__main__")
    again = defined("Shades", "__main__")
    assert registered["__main__:Shades"] is again


def test_the_class_of_the_same_module_is_taken(backbone: FrozenBackbone, tmp_path: Path) -> None:
    kinds = [defined("Shades", module) for module in ("studio.shades", "studio.others")]
    for number, kind in enumerate(kinds):
        kind(backbone, classes=CLASSES).save(tmp_path / str(number))
    assert [type(vitrine.load(tmp_path / str(number))) for number in range(2)] == kinds


def test_options_of_another_explainer_are_refused(backbone: FrozenBackbone) -> None:
    with pytest.raises(ValueError, match=r"options of MuLassoExplainer are .*give them as MuLassoOptions\(…\)"):
        MuLassoExplainer(backbone, InversionOptions(image_size=64))  # type: ignore[arg-type]


STUDIO = '''
"""An explainer of a person's own, with options of its own."""

import sys
from dataclasses import dataclass

import torch

from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.explanation import Explanation
from vitrine.core.options import Options, Positive
from vitrine.explainers import Explainer


@dataclass(frozen=True)
class ShadeOptions(Options):
    power: Positive = 2.0


class ShadeExplainer(Explainer):
    options_type = ShadeOptions

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.scale = torch.nn.Parameter(torch.ones(()))

    def explain_batch(self, images, target):
        logits = self.backbone(images).logits
        classes = logits.argmax(dim=1) if target is None else torch.full((len(images),), target)
        heatmaps = self.scale.detach() * images[:, :1].abs() ** self.options.power
        labels = [["shade"]] * len(images)
        return Explanation(heatmaps, heatmaps.mean(dim=(2, 3)), labels, logits.argmax(dim=1), classes, logits)


def save(folder):
    torch.manual_seed(0)
    backbone = FrozenBackbone("vitrine.data.an8flower.network:FlowerNet", num_classes=3, arguments={"width": 4})
    explainer = ShadeExplainer(backbone, ShadeOptions(3.0), ["ant", "bee", "cat"])
    explainer.scale.data.fill_(0.5)
    explainer.save(folder)


if __name__ == "__main__":
    save(sys.argv[1])
'''
"""A module that a person may write; run as a script, it saves an explainer."""


@pytest.fixture
def studio(tmp_path: Path) -> Path:
    """The folder that holds the module."""
    (tmp_path / "studio").mkdir()
    (tmp_path / "studio" / "shade_studio.py").write_text(STUDIO, encoding="utf-8")
    return tmp_path / "studio"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["-c", "import sys, shade_studio; shade_studio.save(sys.argv[1])"],
            r"'shade_studio:ShadeExplainer'.*import shade_studio before, or pass .*\(\.\.\., explainer=ShadeExplainer\)",
        ),
        (
            ["shade_studio.py"],
            r"'__main__:ShadeExplainer'.*; pass its class: vitrine\.load\(\.\.\., explainer=ShadeExplainer\)",
        ),
    ],
    ids=["imported", "script"],
)
def test_an_explainer_of_ones_own_is_loaded_in_another_process(
    arguments: list[str], told: str, studio: Path, pictures: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = studio / "explainer"
    done = subprocess.run(
        [sys.executable, *arguments, str(folder)], cwd=studio, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with pytest.raises(ValueError, match=told):
        vitrine.load(folder)
    monkeypatch.syspath_prepend(studio)
    monkeypatch.delitem(sys.modules, "shade_studio", raising=False)
    if arguments[0] == "-c":
        assert type(vitrine.load(folder, allow=("shade_studio",))).__name__ == "ShadeExplainer"
    from shade_studio import ShadeExplainer, ShadeOptions  # type: ignore[import-not-found]

    loaded = vitrine.load(folder, explainer=ShadeExplainer)
    assert type(loaded) is ShadeExplainer
    assert loaded.options == ShadeOptions(3.0)
    expected = 0.5 * pictures[:, :1].abs() ** 3
    torch.testing.assert_close(loaded.explain(pictures).heatmaps, expected)
    if arguments[0] == "-c":
        assert_same_explanations(loaded, vitrine.load(folder), pictures)  # known by now


# Arguments of the backbone


def test_a_backbone_of_other_arguments_is_refused(backbone: FrozenBackbone, tmp_path: Path) -> None:
    explainer = SRAEExplainer(
        backbone, SRAEOptions("features", explained_classes=[0], image_size=64), CLASSES, PREPROCESSING
    )
    explainer.save(tmp_path / "explainer")
    torch.manual_seed(0)
    same = FrozenBackbone(FLOWER_NET, num_classes=3, arguments={"width": 4})
    vitrine.load(tmp_path / "explainer", backbone=same)
    vitrine.load(tmp_path / "explainer", backbone=backbone.model)  # whose arguments are not known
    same.arguments = '{"width": 4, "stride": 2}'
    with pytest.raises(ValueError, match=r'arguments \{"width": 4\}, .*"stride": 2'):
        vitrine.load(tmp_path / "explainer", backbone=same)
    path = tmp_path / "explainer" / CONFIG_NAME
    config = json.loads(path.read_text())
    del config["backbone_arguments"]  # as earlier releases wrote it
    path.write_text(json.dumps(config))
    vitrine.load(tmp_path / "explainer", backbone=same)
