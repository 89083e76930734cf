"""The table of several explainers: it goes to the run's folder and to W&B, and says where it is."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from PIL import Image

from callbacks import comparison
from callbacks.adversarial_attack import AdversarialAttack
from callbacks.average_images import AverageImages
from callbacks.comparison import ComparisonTable
from callbacks.heatmaps import HeatmapPanel
from callbacks.image_figures import ImageFigures
from callbacks.loggers import Table
from callbacks.measures import MapMeasures
from callbacks.relevance import RelevanceTable
from callbacks.sanity import SanityCheck
from callbacks.two_objects import TwoObjects
from lightning_modules import AttributionModule, ComparisonModule
from lightning_modules.comparison import ComparedExplainer
from tests.lightning_modules.test_attribution import FLOWER_NET, QUIET, flowers


def run(folder: Path, shards: Path, module: pl.LightningModule) -> None:
    trainer = pl.Trainer(default_root_dir=folder, callbacks=[ImageFigures(), ComparisonTable()], **QUIET)
    trainer.test(module, datamodule=flowers(shards), verbose=False)


def test_the_table_is_written_logged_and_told(
    flower_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logged: dict[str, Table] = {}
    monkeypatch.setattr(comparison, "log_tables", lambda _, tables: logged.update(tables))
    methods = {name: ComparedExplainer(name) for name in ("GradCAM", "Center")}
    run(tmp_path, flower_shards, ComparisonModule(FLOWER_NET, methods, explain="label"))
    assert f"Comparison: {tmp_path / 'compare.csv'}" in capsys.readouterr().out
    table: Any = logged["comparison"]
    assert [row[0] for row in table.rows] == ["GradCAM", "Center"]
    assert (tmp_path / "compare.csv").read_text().splitlines()[0] == ",".join(table.columns)


@pytest.mark.parametrize(
    "callback", [HeatmapPanel(num_images=2), SanityCheck(method=None), AverageImages(split="test"), RelevanceTable()]
)
def test_what_looks_at_one_explainer_alone_refuses_several(
    callback: pl.Callback, flower_shards: Path, tmp_path: Path
) -> None:
    several = ComparisonModule(FLOWER_NET, {name: ComparedExplainer(name) for name in ("GradCAM", "Center")})
    name = type(callback).__name__
    trainer = pl.Trainer(default_root_dir=tmp_path, callbacks=[callback], **QUIET)
    with pytest.raises(ValueError, match=f"{name} looks at one explainer, but ComparisonModule has several"):
        trainer.test(several, datamodule=flowers(flower_shards), verbose=False)


def test_a_method_of_its_own_is_checked_beside_several(flower_shards: Path, tmp_path: Path) -> None:
    several = ComparisonModule(FLOWER_NET, {name: ComparedExplainer(name) for name in ("GradCAM", "Center")})
    callback = SanityCheck(method="Saliency", num_images=2, stages=1)
    trainer = pl.Trainer(default_root_dir=tmp_path, callbacks=[callback], **QUIET)
    trainer.test(several, datamodule=flowers(flower_shards), verbose=False)
    assert "test/sanity/Saliency/similarity" in trainer.callback_metrics


@pytest.mark.parametrize(
    "callback",
    [
        MapMeasures(["max_sensitivity"]),
        MapMeasures(["complexity", "parameter_randomization"]),
        TwoObjects(),
        AdversarialAttack(),
    ],
)
def test_maps_in_files_are_of_the_tests_own_images(callback: pl.Callback, flower_shards: Path, tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "map.png")
    several = ComparisonModule(
        FLOWER_NET, {"Center": ComparedExplainer("Center"), "mine": ComparedExplainer(maps=tmp_path)}
    )
    trainer = pl.Trainer(default_root_dir=tmp_path, callbacks=[callback], **QUIET)
    with pytest.raises(ValueError, match=f"{type(callback).__name__} needs an explainer of .* got MapFileExplainer"):
        trainer.test(several, datamodule=flowers(flower_shards), verbose=False)


def test_one_explainer_has_no_table(flower_shards: Path, tmp_path: Path) -> None:
    run(tmp_path, flower_shards, AttributionModule(FLOWER_NET))
    assert not list(tmp_path.glob("compare*"))
