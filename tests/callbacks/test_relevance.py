"""The tables of a run's relevant filters."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import WandbLogger
from torch import Tensor, nn

from callbacks.relevance import RelevanceTable
from tests.helpers import explaining_fakes as fakes
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.batch import Batch
from vitrine.filters.layer_selection import selection_by_layer
from vitrine.filters.relevance import filters_by_relevance, write_relevance
from vitrine.filters.responses import FilterResponses

FILES = ["picks.csv", "relevance.csv", "relevance.json"]


class ThreeClasses(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU())
        self.classifier = nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(images).mean(dim=(2, 3)))
        return logits


class Selector(nn.Module):
    """Selects the filters that it was told to."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.responses = FilterResponses(FrozenBackbone(ThreeClasses()), image_size=12)
        self.register_buffer("weights", weights)
        self.weights: Tensor
        self.classes: list[str] = []


class Module(pl.LightningModule):
    """Selects nothing before its training has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.explainer = Selector(torch.zeros(14, 3))

    def training_step(self, _batch: Batch) -> None:
        self.explainer.weights[[2, 9, 13], [0, 0, 2]] = torch.tensor([0.25, -0.5, 1.0])

    def test_step(self, batch: Batch) -> None:
        pass

    def configure_optimizers(self) -> None:
        pass


def test_the_files_after_fitting(tmp_path: Path) -> None:
    module = Module()
    fakes.trainer(tmp_path, RelevanceTable(), max_epochs=1).fit(module, datamodule=fakes.FakeData())
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    weights, layers = module.explainer.weights, module.explainer.responses.layers
    assert [layer.name for layer in layers] == ["features.0", "features.2"]
    rows = filters_by_relevance(weights, layers, fakes.CLASSES)
    assert [(row.class_name, row.layer.name, row.filter) for row in rows] == [
        ("loon", "features.2", 3),
        ("loon", "features.0", 2),
        ("<b>gull</b> & co", "features.2", 7),
    ]
    write_relevance(tmp_path / "expected", rows)
    for name in FILES[1:]:
        assert (tmp_path / name).read_bytes() == (tmp_path / "expected" / name).read_bytes()
    with (tmp_path / "picks.csv").open(newline="") as file:
        found = [(line["layer"], int(line["picks"])) for line in csv.DictReader(file)]
    assert found == [(pick.layer, pick.picks) for pick in selection_by_layer(weights, layers)]


def test_the_files_after_a_test(tmp_path: Path) -> None:
    module = Module()
    module.explainer.weights[5, 1] = -1
    module.explainer.classes = ["ant", "bee", "cow"]
    fakes.trainer(tmp_path, RelevanceTable()).test(module, datamodule=fakes.FakeData(), verbose=False)
    assert [entry["class"] for entry in json.loads((tmp_path / "relevance.json").read_text())] == ["bee"]


def test_wandb_gets_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(save_dir=tmp_path, offline=True)
    sent: list[dict[str, Any]] = []
    log = logger.experiment.log

    def recorded(data: dict[str, Any], *args: Any, **options: Any) -> None:
        sent.append(dict(data))
        log(data, *args, **options)

    monkeypatch.setattr(logger.experiment, "log", recorded)
    module = Module()
    fakes.trainer(tmp_path, RelevanceTable(), logger=logger, max_epochs=1).fit(module, datamodule=fakes.FakeData())
    logger.experiment.finish()
    (tables,) = [data for data in sent if "relevance" in data]
    assert tables["relevance"].columns == ["class", "rank", "layer_number", "layer", "kind", "filter", "weight"]
    assert tables["relevance"].data[0] == ["loon", 1, 3, "features.2", "conv", 3, -0.5]
    assert [row[0] for row in tables["picks"].data] == ["features.0", "features.2"]
    assert len(list(tmp_path.glob("wandb/offline-run-*/files/media/table/*.json"))) == 2


def test_needs_an_explainer_that_selects_filters(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"RelevanceTable needs an explainer that selects filters.* got FakeExplainer"):
        fakes.trainer(tmp_path, RelevanceTable()).fit(fakes.module(), datamodule=fakes.FakeData())
