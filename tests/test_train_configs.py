"""Every shipped configuration runs, every model file with every data file, and every overlay."""

import csv
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

import vitrine
from lightning_modules.base import EXPORTED, ExplainerModule
from tests.helpers.commands import (
    ROOT,
    SMALL,
    SMALL_IMAGES,
    SMALL_MODELS,
    SMALL_SRAE,
    THIN_VGG16,
    THIN_VGG19,
    UNTRAINED,
    fit_and_test,
    fit_quickstart,
    run,
)
from tests.helpers.pages import cards_of
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.explanation import Explanation
from vitrine.data.an8flower.network import FlowerNet
from vitrine.explainers import Explainer
from vitrine.explainers.base import Target


def module_named_in(path: Path) -> str:
    config = yaml.safe_load(path.read_text())
    return str(config.get("model", config)["class_path"])


SHIPPED = {path.name: module_named_in(path) for path in sorted((ROOT / "configs").glob("*.yaml"))}
RUNNABLE = [name for name, kind in SHIPPED.items() if kind not in UNTRAINED]


BY_INDEX = [*THIN_VGG19, "--model.init_args.class_map=by_index"]
"""Of three classes of ImageNet, for a network of a thousand."""
STAND_INS = {
    "voc_vgg19_classifier.yaml": THIN_VGG19,
    "voc_vgg19_inversion.yaml": THIN_VGG19,
    "voc_vgg19_mu_lasso.yaml": THIN_VGG19,
    "voc_vgg19_srae.yaml": THIN_VGG19,
    "imagenet_vgg19_inversion.yaml": BY_INDEX,
    "imagenet_vgg19_mu_lasso.yaml": BY_INDEX,
    "imagenet_vgg19_srae.yaml": [*BY_INDEX, "--model.init_args.srae.explained_classes=[0,1,2]"],
    "places_vgg16_inversion.yaml": THIN_VGG16,
    "places_vgg16_mu_lasso.yaml": THIN_VGG16,
    "places_vgg16_srae.yaml": THIN_VGG16,
    "flower_vit.yaml": ["--model.init_args.backbone.arguments={size: 64}"],
    "tiny_imagenet_mobilenet_inversion.yaml": ["--data.init_args.wnids=data/wnids.txt"],
}
"""Options in place of files and networks that are too large for tests."""


@pytest.mark.parametrize("name", RUNNABLE)
def test_every_shipped_config_runs(name: str, weights: Path) -> None:
    config = yaml.safe_load((ROOT / "configs" / name).read_text())
    backbone = config["model"]["init_args"]["backbone"]
    args = ["-c", f"configs/{name}", *SMALL, *SMALL_IMAGES, *SMALL_MODELS.get(config["model"]["class_path"], [])]
    if backbone.get("weights") in {"DEFAULT", "data/places_vgg16.pth"}:  # no download in tests, nor 540 MB written
        args += ["--model.init_args.backbone.weights=null"]
    exported = fit_and_test(*args, *STAND_INS.get(name, [])) / EXPORTED
    if exported.is_dir():
        moved = shutil.move(exported, weights / "moved")
        shutil.rmtree(weights / "runs")  # with the classifiers
        vitrine.load(moved, allow=("tests.helpers.",))


@pytest.mark.parametrize("name", [name for name, kind in SHIPPED.items() if kind in UNTRAINED])
def test_every_shipped_config_without_a_fit_is_tested(name: str, weights: Path) -> None:
    fit_quickstart(*SMALL_IMAGES)  # an explainer to compare with
    folder = Path(run("test", "-c", f"configs/{name}", *SMALL, *SMALL_IMAGES).trainer.default_root_dir)
    names = list(yaml.safe_load((ROOT / "configs" / name).read_text())["model"]["init_args"]["explainers"])
    with (folder / "compare.csv").open() as file:
        assert [row["method"] for row in csv.DictReader(file)] == names


def entries(name: str) -> tuple[str, str, dict[str, dict[str, Any]]]:
    """Module, datamodule and callbacks with their options of a shipped configuration."""
    config = yaml.safe_load((ROOT / "configs" / name).read_text())
    data = config["data"]
    data = yaml.safe_load((ROOT / "configs" / data).read_text()) if isinstance(data, str) else data
    callbacks = {entry["class_path"]: entry.get("init_args", {}) for entry in config["trainer"].get("callbacks+", [])}
    return config["model"]["class_path"], data["class_path"], callbacks


@pytest.mark.parametrize("module", ["SRAEModule", "MuLassoModule", "InversionModule"])
def test_every_explainer_has_a_configuration_for_every_set(module: str) -> None:
    found = [(data, callbacks) for kind, data, callbacks in map(entries, RUNNABLE) if kind == module]
    sets = {f"{name}DataModule" for name in ("CUB", "Places", "ImageNet", "VOC", "Folder", "Flower")}
    assert sets <= {data for data, _ in found}
    for _, callbacks in found:
        assert all(callbacks[name]["logit_map"] for name in ("HeatmapPanel", "ReportGallery"))
        assert ("MaskedClassification" in callbacks) == (module == "SRAEModule")


def test_the_papers_classifier_for_voc(workplace: Path) -> None:
    """Section 4.3 of Du et al.: VGG-19 with 20 new outputs, of which alone Adam changes anything."""
    name = "voc_vgg19_classifier.yaml"
    config = yaml.safe_load((ROOT / "configs" / name).read_text())
    assert config["model"]["init_args"]["backbone"] == {"name": "vgg19", "weights": "DEFAULT"}
    assert config["data"]["init_args"]["loading"]["batch_size"] == 64
    small = [*SMALL, *SMALL_IMAGES, *STAND_INS[name], "--model.init_args.backbone.weights=null"]
    cli = run("fit", "-c", f"configs/{name}", *small)
    trained = [name for name, parameter in cli.model.network.named_parameters() if parameter.requires_grad]
    assert trained == ["classifier.6.weight", "classifier.6.bias"]
    assert cli.model.network.get_submodule("classifier.6").out_features == 20
    (group,) = cli.trainer.optimizers[0].param_groups
    assert (group["lr"], group["weight_decay"], group["betas"]) == (1e-4, 0, (0.9, 0.999))
    assert cli.trainer.lr_scheduler_configs == []


WITHOUT_TRAINING_IMAGES = {"saliency.yaml"}


FITTED = {path.name for path in (ROOT / "configs" / "data").glob("*.yaml")} - WITHOUT_TRAINING_IMAGES


FEW_SETS = {"attribution.yaml", "comparison.yaml", "mu_lasso_paper.yaml"}
"""Models without a fit, and another setting of one: two sets stand for all."""
PAIRS = [
    (model, data)
    for model in sorted(path.name for path in (ROOT / "configs" / "model").glob("*.yaml"))
    for data in sorted(FITTED)
    if model not in FEW_SETS or data in {"folder.yaml", "voc.yaml"}
]


@pytest.mark.parametrize(("model", "data"), PAIRS)
def test_every_model_file_goes_with_every_data_file(model: str, data: str, workplace: Path) -> None:
    counts = {
        "folder.yaml": 2,
        "imagenet.yaml": 3,
        "mnist.yaml": 10,
        "places.yaml": 365,
        "tiny_imagenet.yaml": 3,
        "voc.yaml": 20,
    }
    classes = counts.get(data, 6)
    kind = yaml.safe_load((ROOT / "configs" / "model" / model).read_text())["class_path"]
    is_srae = kind in {"SRAEModule", "SRAESettingsModule"}
    few = ["--model.init_args.srae.explained_classes=[52,203]"] if is_srae and classes == 365 else []
    args = [
        "--model", f"configs/model/{model}", "--data", f"configs/data/{data}", *SMALL, *SMALL_IMAGES, *few,
        "--model.init_args.backbone.weights=null", f"--model.init_args.backbone.num_classes={classes}",
        *SMALL_MODELS.get(kind, []), "--trainer.max_epochs=1",
    ]  # fmt: skip
    if kind in UNTRAINED:
        folder = Path(run("test", *args).trainer.default_root_dir)
        assert {"metrics.json", "evaluation.json"} & {path.name for path in folder.rglob("*.json")}
    else:
        fit_and_test(*args)


class Brightness(Explainer):
    """A map of the images' own brightness, for whatever the backbone predicts."""

    def explain_batch(self, images: Tensor, target: Target) -> Explanation:  # noqa: ARG002
        logits = self.backbone.model(images)
        classes = logits.argmax(dim=1)
        labels = [["brightness"]] * len(images)
        return Explanation(
            images.mean(dim=1, keepdim=True), torch.ones(len(images), 1), labels, classes, classes, logits
        )


class BrightnessModule(ExplainerModule):
    """Needs no training."""

    def __init__(self) -> None:
        super().__init__(Brightness(FrozenBackbone(FlowerNet())))
        self.needs_checkpoint = False


def test_images_without_classes_are_tested_by_their_masks(workplace: Path) -> None:
    data = ["--data", "configs/data/saliency.yaml", *SMALL, *SMALL_IMAGES]
    cli = run("test", "--model", f"{__name__}.BrightnessModule", *data)
    metrics = json.loads((Path(cli.trainer.default_root_dir) / "metrics.json").read_text())
    assert 0 < metrics["test/iou"] < 100
    assert metrics["test/energy_in_mask/skipped"] == 0
    assert metrics["test/energy_in_mask/area"] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("overlay", sorted(path.name for path in (ROOT / "configs" / "trainer").glob("*.yaml")))
def test_every_overlay_goes_on_top_of_the_quickstart(
    overlay: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one device; two are tried with the callbacks."""
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    fresh = [f"--trainer.default_root_dir={workplace}/run"]  # absolute for W&B's own process, which outlives a test
    folder = fit_and_test(
        "-c", "configs/quickstart.yaml", "-c", f"configs/trainer/{overlay}", *SMALL, *SMALL_SRAE, *fresh
    )
    left = {"wandb.yaml": "wandb", "tensorboard.yaml": "tensorboard"}.get(overlay, "config-fit.yaml")
    assert (folder / left).exists()
    assert {path.parent.name for path in folder.glob("logs/*/metrics.csv")} == {"fit", "test"}
    assert {path.name for path in workplace.iterdir()} <= {"configs", "vitrine", "data", "run"}


def test_the_quickstarts_network_is_as_accurate_as_the_pages_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the very set that the quickstart renders."""
    from vitrine.data.an8flower.cli import main as an8flower

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "vitrine").symlink_to(ROOT / "vitrine")
    options = "--views 20 --size 96 --crops 2 --rotations 2 --crop-size 80"
    assert options.split()[1] in (ROOT / "Makefile").read_text()
    assert an8flower(["--variant", "single-6c", "--out", "data/an8flower-small", *options.split()]) == 0
    weights = ROOT / "vitrine" / "data" / "an8flower" / "flower_net.safetensors"
    assert weights.stat().st_size <= 1_000_000
    run(
        "test", "-c", "configs/flower_classifier.yaml", "--model.init_args.backbone.weights", str(weights),
        "--trainer.default_root_dir", str(tmp_path / "run"), "--trainer.enable_progress_bar", "false",
    )  # fmt: skip
    accuracy = json.loads((tmp_path / "run" / "metrics.json").read_text())["test/accuracy"]
    claimed = [
        line
        for line in (ROOT / "docs" / "start.md").read_text(encoding="utf-8").splitlines()
        if "test accuracy" in line
    ]
    assert f"{100 * accuracy:.1f} %" in claimed[0]
    assert sum(parameter.numel() for parameter in FlowerNet().parameters()) < 250_000


@pytest.mark.parametrize("name", ["quickstart.yaml", "flower_mu_lasso.yaml"])
def test_what_was_fitted_is_tested_on_images_without_classes(name: str, workplace: Path) -> None:
    kind = yaml.safe_load((ROOT / "configs" / name).read_text())["model"]["class_path"]
    args = ["-c", f"configs/{name}", *SMALL, *SMALL_IMAGES, *SMALL_MODELS[kind]]
    cli = run("fit", *args)
    data = [
        "--data",
        "SaliencyDataModule",
        "--data.init_args.shards=data/saliency",
        "--data.init_args.root=data/MSRA-B",
    ]
    gallery = ["--trainer.callbacks=[]", "--trainer.callbacks+=ReportGallery"]  # an ablation needs classes
    run("test", *args, *data, *SMALL, *SMALL_IMAGES, *gallery)
    folder = Path(cli.trainer.default_root_dir)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["test/energy_in_mask/skipped"] == 0
    assert len(cards_of(folder / "report")) == 4
    with pytest.raises(SystemExit) as told:
        run("fit", *args, *data, *SMALL, *SMALL_IMAGES)
    assert told.value.code == 2
