"""The average images that a run leaves, over any number of ranks; run as a script, a two-process run of it."""

import json
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from PIL import Image
from pytorch_lightning.loggers import WandbLogger
from torch import Tensor, nn

from callbacks.average_images import AverageImages
from datamodules import FlowerDataModule
from datamodules.options import FeatureCacheOptions, LoadingOptions
from tests.helpers import explaining_fakes as fakes
from tests.helpers.ranks import RankPool
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.batch import Batch
from vitrine.data.preprocessing import Preprocessing
from vitrine.filters.average_images import average_images
from vitrine.filters.maxima import TargetFilter
from vitrine.filters.relevance import filters_by_relevance
from vitrine.filters.responses import FilterResponses
from vitrine.visualization.contact_sheet import average_sheet

SIZE = 24


class SixClasses(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU())
        self.hidden = nn.Linear(8, 5)
        self.logits = nn.Linear(5, 6)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.logits(self.hidden(self.features(images).mean(dim=(2, 3))).relu())
        return logits


class Selector(nn.Module):
    """Four filters a class, some of them shared."""

    def __init__(self) -> None:
        super().__init__()
        self.responses = FilterResponses(FrozenBackbone(SixClasses()), image_size=SIZE)
        weights = torch.zeros(self.responses.num_filters, 6)
        for number in range(6):
            weights[[1, 7 + number, 13 + number, 20 + number % 5], number] = torch.tensor([0.5, -0.25, 0.75, 1.0])
        self.register_buffer("weights", weights)
        self.weights: Tensor
        self.classes: list[str] = []


class Module(pl.LightningModule):
    """Has nothing to train; takes random numbers at test."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        torch.manual_seed(0)
        self.explainer = Selector()
        self.unused = nn.Parameter(torch.zeros(()))  # without any parameter, several processes cannot share a module

    def training_step(self, _batch: Batch) -> None:
        pass

    def test_step(self, batch: Batch) -> None:
        self.log("test/random", torch.rand(()), batch_size=len(batch["image"]), sync_dist=True)

    def configure_optimizers(self) -> None:
        pass


def data(shards: Path) -> FlowerDataModule:
    loading, features = LoadingOptions(batch_size=4, num_workers=0), FeatureCacheOptions(cache=False)
    return FlowerDataModule(shards=shards, preprocessing=Preprocessing(SIZE, SIZE), loading=loading, features=features)


def trainer(folder: Path, *callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    silent: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "max_epochs": 1, "logger": False, **quiet}
    return pl.Trainer(default_root_dir=folder, callbacks=list(callbacks), **(silent | options))


def fitted(folder: Path, shards: Path, *callbacks: pl.Callback, **options: Any) -> Module:
    module = Module()
    trainer(folder, *callbacks, **options).fit(module, datamodule=data(shards))
    return module


def written(folder: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((folder / "average_images" / "average_images.json").read_text())
    return entries


def pictures(folder: Path) -> dict[str, NDArray[np.uint8]]:
    found = {}
    for path in sorted((folder / "average_images").glob("*.png")):
        with Image.open(path) as image:
            found[path.name] = np.asarray(image)
    return found


def test_a_picture_a_class_and_its_images(flower_shards: Path, tmp_path: Path) -> None:
    module = fitted(tmp_path, flower_shards, AverageImages(top_k=3, features_per_class=2))
    datamodule = data(flower_shards)
    datamodule.setup("fit")
    rows = [
        row for row in filters_by_relevance(module.explainer.weights, module.explainer.responses.layers) if row.rank < 3
    ]
    entries = written(tmp_path)
    assert [(entry["class_index"], entry["index"], entry["weight"]) for entry in entries] == [
        (row.class_index, row.index, row.weight) for row in rows
    ]
    assert [entry["class"] for entry in entries] == [datamodule.classes[row.class_index] for row in rows]
    assert [len(entry["images"]) for entry in entries] == [3] * 12
    assert sorted(pictures(tmp_path)) == [f"{n:03d}_{name}.png" for n, name in enumerate(datamodule.classes)]
    assert {picture.shape for picture in pictures(tmp_path).values()} == {(10 + 2 * 192, 10 + 4 * 170, 3)}

    # The strongest responses over all training images but those held out.
    keys, responses = [], []
    for batch in datamodule.every_image("train"):
        keys += batch["key"]
        responses.append(module.explainer.responses(batch["image"])["features"])
    assert len(keys) == len(set(keys)) == datamodule.num_samples("train") < datamodule.train_count
    x = torch.cat(responses)
    for entry in entries:
        order = x[:, entry["index"]].argsort(descending=True)[:3].tolist()
        assert [image["key"] for image in entry["images"]] == [keys[n] for n in order]
        assert all((image["location"] is None) == (entry["kind"] == "linear") for image in entry["images"])


def test_the_picture_is_that_of_the_plain_functions(flower_shards: Path, tmp_path: Path) -> None:
    name = "violet"
    module = fitted(tmp_path, flower_shards, AverageImages(top_k=5, features_per_class=4, classes=[name]))
    datamodule = data(flower_shards)
    datamodule.setup("fit")
    responses, index = module.explainer.responses, datamodule.classes.index(name)
    rows = filters_by_relevance(module.explainer.weights, responses.layers, datamodule.classes)
    rows = [row for row in rows if row.class_index == index]
    wanted = [TargetFilter(row.layer, row.filter) for row in rows]
    averages = average_images(lambda: datamodule.every_image("train"), responses, wanted, (3, SIZE, SIZE), top_k=5)
    expected = average_sheet(averages, [row.label for row in rows], datamodule.preprocessing.denormalize)
    assert np.array_equal(pictures(tmp_path)[f"{index:03d}_{name}.png"], np.asarray(expected))
    assert len(pictures(tmp_path)) == 1


def test_filters_of_negative_weight_are_left_out_where_absences_are_hidden(flower_shards: Path, tmp_path: Path) -> None:
    """The next ones by weight take their places."""
    for absent, weights in (("hide", {1.0, 0.75, 0.5}), ("show", {1.0, 0.75, 0.5, -0.25})):
        module = Module()
        module.explainer.options = SimpleNamespace(absent=absent)  # type: ignore[assignment]
        callback = AverageImages(top_k=2, max_classes=2)
        trainer(tmp_path / absent, callback).fit(module, datamodule=data(flower_shards))
        entries = written(tmp_path / absent)
        assert {entry["weight"] for entry in entries} == weights
        assert [entry["class_index"] for entry in entries] == sorted([0, 1] * len(weights))


def test_test_images_after_a_test(flower_shards: Path, tmp_path: Path) -> None:
    module, datamodule = Module(), data(flower_shards)
    callbacks = [AverageImages(top_k=2, max_classes=1, split="test"), AverageImages(split="train")]
    trainer(tmp_path, *callbacks, inference_mode=False).test(module, datamodule=datamodule, verbose=False)
    keys = {key for batch in datamodule.test_dataloader() for key in batch["key"]}
    entries = written(tmp_path)
    assert {entry["class_index"] for entry in entries} == {0}
    assert len(entries) == 4
    assert {image["key"] for entry in entries for image in entry["images"]} <= keys


def test_images_of_the_class_alone(flower_shards: Path, tmp_path: Path) -> None:
    fitted(tmp_path, flower_shards, AverageImages(top_k=100, features_per_class=1, of_class=True))
    datamodule = data(flower_shards)
    datamodule.setup("fit")
    labels = {
        key: int(label)
        for batch in datamodule.every_image("train")
        for key, label in zip(batch["key"], batch["label"], strict=True)
    }
    for entry in written(tmp_path):
        assert {labels[image["key"]] for image in entry["images"]} == {entry["class_index"]}


@pytest.mark.parametrize("inference_mode", [False, True])
def test_the_run_is_not_changed(inference_mode: bool, flower_shards: Path, tmp_path: Path) -> None:
    def tested(*callbacks: pl.Callback) -> tuple[float, dict[str, Tensor]]:
        module = Module()
        torch.manual_seed(5)
        run = trainer(tmp_path, *callbacks, inference_mode=inference_mode)
        run.test(module, datamodule=data(flower_shards), verbose=False)
        return float(run.callback_metrics["test/random"]), module.explainer.responses.backbone.model.state_dict()

    with_images, without = tested(AverageImages(top_k=2, max_classes=1, split="test")), tested()
    assert written(tmp_path)
    assert with_images[0] == without[0]
    assert all(torch.equal(with_images[1][name], value) for name, value in without[1].items())


def test_an_earlier_folder_is_replaced_as_a_whole(flower_shards: Path, tmp_path: Path) -> None:
    fitted(tmp_path, flower_shards, AverageImages(top_k=1, features_per_class=1))
    fitted(tmp_path, flower_shards, AverageImages(top_k=1, features_per_class=1, classes=["red"]))
    assert [name[4:] for name in pictures(tmp_path)] == ["red.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["average_images"]


def test_wandb_gets_the_pictures(flower_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(save_dir=tmp_path, offline=True)
    fitted(tmp_path, flower_shards, AverageImages(top_k=1, features_per_class=1, classes=["red"]), logger=logger)
    logger.experiment.finish()
    (path,) = tmp_path.glob("wandb/offline-run-*/files/media/images/average_images/red*.png")
    assert path.stat().st_size > 500


def test_nothing_relevant_is_warned_of(flower_shards: Path, tmp_path: Path) -> None:
    module = Module()
    module.explainer.weights.zero_()
    with pytest.warns(UserWarning, match="no filter is relevant for the chosen classes"):
        trainer(tmp_path, AverageImages()).fit(module, datamodule=data(flower_shards))
    assert not (tmp_path / "average_images").exists()


def test_progress_is_shown(flower_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fitted(tmp_path, flower_shards, AverageImages(top_k=1, max_classes=1))
    assert "Average images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "^top_k is 0; give "),
        ({"features_per_class": -1}, "^features_per_class is -1; give "),
        ({"max_classes": 0}, "^max_classes is 0; give "),
        ({"side": 0}, "^side is 0; give "),
        ({"split": "val"}, "^split is 'val'; give 'train' or 'test'"),
        ({"rank_by": "mean"}, "^rank_by is 'mean'; give 'response' or 'maximum'"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AverageImages(**options)


def test_an_unknown_class_is_found_before_fitting(flower_shards: Path, tmp_path: Path) -> None:
    module = Module()
    run = trainer(tmp_path, AverageImages(classes=["violett"]))
    with pytest.raises(ValueError, match="there is no class 'violett'; near names: violet"):
        run.fit(module, datamodule=data(flower_shards))
    assert run.global_step == 0


def test_needs_an_explainer_that_selects_filters(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"AverageImages needs an explainer that selects filters.* got FakeExplainer"):
        fakes.trainer(tmp_path, AverageImages()).fit(fakes.module(), datamodule=fakes.FakeData())


def test_needs_a_datamodule(flower_shards: Path, tmp_path: Path) -> None:
    datamodule = data(flower_shards)
    datamodule.setup("fit")
    loader: Iterable[Batch] = datamodule.train_dataloader()
    with pytest.raises(ValueError, match="AverageImages needs a datamodule"):
        trainer(tmp_path, AverageImages()).fit(Module(), loader)


def test_two_processes_leave_what_one_leaves(ranks: RankPool, flower_shards: Path, tmp_path: Path) -> None:
    averages_on_rank(0, tmp_path / "one", flower_shards)
    ranks.run(averages_on_rank, tmp_path / "two", flower_shards, devices=2, strategy="ddp")
    for stage in ("fit", "test"):
        one, two = (tmp_path / name / stage for name in ("one", "two"))
        for first, second in zip(written(one), written(two), strict=True):
            assert [(i["key"], i["location"]) for i in first.pop("images")] == [
                (i["key"], i["location"]) for i in second.pop("images")
            ]
            assert first == second
        assert pictures(one).keys() == pictures(two).keys()
        for name, picture in pictures(one).items():
            assert np.abs(picture.astype(int) - pictures(two)[name]).max() <= 1


def averages_on_rank(rank: int, folder: Path, shards: Path, **options: Any) -> None:
    """Fits and tests with a trainer of these options."""
    fitted(folder / "fit", shards, AverageImages(top_k=5, max_classes=3), **options)
    tests = AverageImages(top_k=3, max_classes=2, of_class=True, split="test")
    trainer(folder / "test", tests, **options).test(Module(), datamodule=data(shards), verbose=False)
