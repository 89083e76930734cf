"""Many settings from the command line: one fit, an explainer and figures of each, one comparison, equal to each alone."""

import csv
import json
from pathlib import Path

import pytest

import vitrine
from tests.helpers.commands import SMALL, SMALL_SRAE, fit_quickstart, refusal, run

CONFIG = ["-c", "configs/flower_settings.yaml", *SMALL, *SMALL_SRAE]
FEW = ["--model.init_args.settings={beta: [1, 5], num_features: [2, 3]}"]
NAMES = ["beta=1,num_features=2", "beta=1,num_features=3", "beta=5,num_features=2", "beta=5,num_features=3"]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_fit_and_test_of_many_settings(workplace: Path) -> None:
    run("fit", *CONFIG, *FEW)
    folder = workplace / "runs" / "flower_settings"
    found = rows_of(folder / "settings.csv")
    assert [row["setting"] for row in found] == NAMES
    figures = json.loads((folder / "metrics-fit.json").read_text())
    for row in found:
        assert float(row["val/f_reg"]) == pytest.approx(figures[f"val/{row['setting']}/f_reg"])
        explainer = vitrine.load(folder / "explainers" / row["setting"] / "explainer")
        assert explainer.heatmap_counts()[explainer.classes[0]] == int(row["setting"][-1])
    run("test", *CONFIG, *FEW)
    assert [row["method"] for row in rows_of(folder / "compare.csv")] == NAMES
    assert (folder / "compare.html").is_file()
    alone = fit_quickstart("--model.init_args.training.beta=1", "--model.init_args.optimizer.init_args.lr=0.003")
    for name in ("train/loss", "train/f_reg", "val/f_reg"):
        stage, figure = name.split("/")
        expected = float(alone.trainer.callback_metrics[name])
        assert figures[f"{stage}/{NAMES[0]}/{figure}"] == pytest.approx(expected, rel=1e-3)


def test_a_setting_that_nobody_knows_is_named_before_the_fit(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refusal(capsys, "fit", *CONFIG, "--model.init_args.settings={beta: [1], num_feature: [2]}")
    assert "settings.num_feature" in told
    assert "did you mean num_features" in told
    assert not (workplace / "runs" / "flower_settings").exists()
