"""The table of several explainers: it goes to the run's folder and to W&B, and says where it is."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl

from callbacks import comparison
from callbacks.comparison import ComparisonTable
from callbacks.image_figures import ImageFigures
from callbacks.loggers import Table
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


def test_one_explainer_has_no_table(flower_shards: Path, tmp_path: Path) -> None:
    run(tmp_path, flower_shards, AttributionModule(FLOWER_NET))
    assert not list(tmp_path.glob("compare*"))
