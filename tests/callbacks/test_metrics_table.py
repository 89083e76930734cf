"""The table of a test's figures in the terminal: what is in it, and that all figures are in the file."""

import io
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import train
from callbacks.masked_classification import MaskedClassification
from callbacks.metrics_table import MetricsTable, explainers_tables, metrics_table
from tests.helpers import explaining_fakes as fakes
from vitrine import metrics
from vitrine.core.figures import COUNTS, FIGURES
from vitrine.metrics import ExplanationMetric

ROOT = Path(__file__).parents[2]


def printed(figures: Mapping[str, float], width: int = 120, **options: Any) -> str:
    console = Console(width=width, highlight=False)
    with console.capture() as capture:
        console.print(metrics_table("test", figures, **options))
    return capture.get()


def line_of(text: str, name: str) -> list[str]:
    (line,) = [line.split() for line in text.splitlines() if line.split()[:1] == [name]]
    return line


def test_a_figure_has_its_value_its_unit_and_what_is_better() -> None:
    text = printed({"f_reg": 0.8400449, "iou": 11.628207, "pointing_game": math.nan})
    assert line_of(text, "f_reg")[1:4] == ["0.84", "logits", "lower"]
    assert line_of(text, "iou")[1:4] == ["11.63", "%", "higher"]
    assert line_of(text, "pointing_game")[1:4] == ["no", "value", "higher"]
    assert text.index("Rebuilt logits") < text.index("f_reg") < text.index("Heatmaps and objects") < text.index("iou")
    assert "Classifier" not in text


def test_counts_are_shown_where_they_are_not_zero() -> None:
    text = printed({"iou": 1.0, "iou/degenerate": 0.0, "iou/skipped": 3.0, "pointing_game/hits": 5.0})
    assert line_of(text, "iou/skipped")[1] == "3"
    assert "degenerate" not in text
    assert "hits" not in text
    assert "Counts" not in printed({"iou": 1.0, "iou/skipped": 0.0})


def test_figures_of_unknown_metrics_are_shown() -> None:
    assert line_of(printed({"slope": 2.5, "iou/best": 3.0}), "slope") == ["slope", "2.5"]
    assert "best" not in printed({"slope": 2.5, "iou/best": 3.0})


def test_patterns_match_any_threshold_and_method() -> None:
    text = printed({"masked_accuracy/5": 0.5, "masked_accuracy/kept_area_5": 0.25, "sanity/LRP/similarity": 0.75})
    assert line_of(text, "masked_accuracy/5")[1] == "0.5"
    assert line_of(text, "sanity/LRP/similarity")[1] == "0.75"
    assert "kept_area" not in text


def test_every_metric_is_known() -> None:
    """Each metric of explanations has a figure in the table, and its counts have words."""
    names = {figure.name.partition("/")[0] for group in FIGURES.values() for figure in group}
    annotated = metrics.metrics_for(metrics.METRICS_BY_ANNOTATION)
    metric: ExplanationMetric
    for metric in [*annotated, metrics.Orthogonality()]:
        with pytest.warns(UserWarning, match="compute"):  # nothing was taken in
            found = metric.compute()
        assert {name.partition("/")[0] for name in found} <= names
        counted = {name.rpartition("/")[2] for name in found if name.endswith(("degenerate", "skipped", "undefined"))}
        assert counted <= set(COUNTS)


def test_the_direction_is_that_of_the_metric() -> None:
    better = {figure.name: figure.better for group in FIGURES.values() for figure in group}
    assert (better["f_reg"] == "lower") == (metrics.RegressionFaithfulness.higher_is_better is False)
    for kind, name in (
        (metrics.ClassificationFaithfulness, "f_cls"),
        (metrics.ClassReconstruction, "reconstruction_auc"),
        (metrics.EnergyInMask, "energy_in_mask"),
        (metrics.EnergyInBoxes, "energy_in_boxes"),
        (metrics.IoUCurve, "iou"),
        (metrics.LocalizationError, "localization/error"),
        (metrics.PointingGame, "pointing_game"),
        (metrics.Locality, "locality"),
        (metrics.Orthogonality, "orthogonality/o1"),
        (metrics.SaliencyDetection, "saliency/f"),
        (metrics.Infidelity, "infidelity"),
        (metrics.MaxSensitivity, "max_sensitivity"),
        (metrics.Road, "road/gap"),
        (metrics.PixelFlipping, "pixel_flipping/aopc"),
        (metrics.Sparseness, "sparseness"),
        (metrics.Complexity, "complexity"),
        (metrics.ParameterRandomization, "parameter_randomization"),
    ):
        assert better[name] == ("higher" if kind.higher_is_better else "lower")


def test_every_figure_of_heatmaps_is_in_the_guide() -> None:
    rows = re.findall(
        r"^\| (`[^|]*) \|", (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    named = {name.partition("/")[0] for row in rows for name in re.findall(r"`([a-z_]+)", row)}
    figures = {figure.name.partition("/")[0] for group in FIGURES.values() for figure in group}
    others = {"accuracy", "mean_class_accuracy", "mean_average_precision", "inversion"}
    assert figures - others == named


def test_settings_stand_beside_the_figures_that_depend_on_them() -> None:
    figures = {
        "pointing_game": 0.5,
        "pointing_game/hits": 3.0,
        "localization/error": 0.3,
        "localization/best_error": 0.2,
    }
    figures |= {"masked_accuracy/5": 0.1, "iou": 20.0}
    settings = {
        **metrics.PointingGame(15).settings,
        **metrics.LocalizationError(1.5).settings,
        **MaskedClassification(blur=0.02).settings,
    }
    out = printed(figures, width=200, settings=settings)
    assert "share of maxima on an object; tolerance 15 px of the image" in out
    assert "boxes with IoU ≤ 0.5; α = 1.5" in out
    assert "at the α best on these images\n" in re.sub(" +\n", "\n", out)
    assert "on pixels above so many %; heatmaps blurred by 2 % of the side" in out
    assert "area under IoU by threshold\n" in re.sub(" +\n", "\n", out)
    assert MaskedClassification().settings == {"masked_accuracy": "no blur"}


def test_it_fits_a_narrow_terminal() -> None:
    names = [figure.name for group in FIGURES.values() for figure in group if "*" not in figure.name]
    assert max(map(len, printed(dict.fromkeys(names, 0.1234), width=80).splitlines())) <= 80


def test_a_fit_prints_no_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fakes.trainer(tmp_path, MetricsTable(), max_epochs=1).fit(fakes.module(), datamodule=fakes.FakeData())
    assert "better" not in capsys.readouterr().out


def test_a_run_prints_what_matters_and_writes_all(
    workplace: Path, small_run: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRINE_TRACEBACK", "1")
    train.main(["fit", *small_run])
    train.main(["validate", *small_run])
    validated = capsys.readouterr().out
    assert re.search(r"f_reg.[\d.]+.logits.↓", validated)
    assert "Validate metric" not in validated
    train.main(["test", *small_run])
    out = capsys.readouterr().out
    figures = json.loads((workplace / "runs" / "quickstart" / "metrics.json").read_text())
    assert float(re.search(r"f_reg.([\d.]+).logits.↓", out)[1]) == pytest.approx(figures["test/f_reg"], rel=1e-3)  # type: ignore[index]
    assert "pointing_game/hits" not in out
    assert "test/pointing_game/hits" in figures
    assert "Test metric" not in out
    assert out.index("is better") < out.index("Report: ")
    train.main(["test", *small_run, "--verbose"])
    told = capsys.readouterr().out
    assert "Test metric" in told
    assert line_of(told[told.index("better") :], "f_reg")[2] == "logits"


def test_several_explainers_have_a_row_each() -> None:
    figures = {
        "SRAE/iou": 12.5,
        "Grad-CAM/iou": 44.25,
        "SRAE/f_cls": 0.5,
        "SRAE/iou/skipped": 3.0,
        "Grad-CAM/own/x": 1.0,
    }
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(*explainers_tables(["SRAE", "Grad-CAM"], figures))
    lines = [line.split() for line in console.export_text().splitlines() if line.strip()]
    assert ["SRAE", "12.5"] in lines
    assert ["Grad-CAM", "44.25"] in lines
    assert ["SRAE", "0.5"] in lines
    assert ["iou", "↑"] in lines
    assert not [line for line in lines if "skipped" in line]


def test_settings_of_several_explainers_stand_below_their_table() -> None:
    figures = {
        f"{name}/{figure}": 0.5 for name in ("SRAE", "CAM") for figure in ("pointing_game", "localization/error")
    }
    settings = {f"{name}/pointing_game": "tolerance 0 px of the image" for name in ("SRAE", "CAM")}
    settings |= {
        "SRAE/localization/error": "α = 1",
        "CAM/localization/error": "α = 2",
        "SRAE/masked_accuracy": "no blur",
    }
    (table,) = explainers_tables(["SRAE", "CAM"], figures, settings)
    assert table.caption == "pointing game: tolerance 0 px of the image; localization error: α = 1 (SRAE), α = 2 (CAM)"
