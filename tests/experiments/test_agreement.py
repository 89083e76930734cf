"""Kendall's τ of figures with the truth: against SciPy, on runs whose orders are known, and the command."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from experiments import agreement
from experiments.agreement import agreements, kendall_tau, main
from tests.helpers.tested_runs import Row, write_run
from vitrine.visualization.comparison.bootstrap import Floats, Rows, bootstrap_means
from vitrine.visualization.comparison.tested_runs import read_runs

IMAGES = 40
LEVELS = {"a": 0.8, "b": 0.6, "c": 0.3, "d": 0.1}
"""Truth of each method."""


def test_tau_is_that_of_scipy_with_ties() -> None:
    first, second = np.random.default_rng(0).integers(0, 4, (2, 50, 6)).astype(np.float64)
    found = kendall_tau(first, second)
    assert found.tolist() == pytest.approx([kendalltau(a, b).statistic for a, b in zip(first, second, strict=True)])
    assert np.isnan(kendall_tau(np.ones(4), np.arange(4, dtype=np.float64)))


def rows_of(level: float, seed: int) -> list[Row]:
    noise = np.random.default_rng(seed).normal(0, 0.05, (4, IMAGES))
    return [
        (
            f"image{image}",
            f"class{image % 2}",
            {
                "causal_truth": level + noise[0, image],
                "iou": 10 * level + noise[1, image],
                "saliency/mae": level + noise[2, image],  # lower is better: the wrong order
                "energy_in_mask": noise[3, image] + 0.5,  # knows nothing
                "energy_in_mask/area": level,  # neither is better
            },
        )
        for image in range(IMAGES)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, (name, level) in enumerate(LEVELS.items()):
        write_run(tmp_path / "run" / "explainers" / name, name, rows_of(level, number))
    (tmp_path / "run" / "metrics.json").write_text("{}")
    return tmp_path / "run"


def test_figures_agree_contradict_or_do_not_tell(folder: Path) -> None:
    found = {one.figure: one for one in agreements(read_runs([folder]), "causal_truth", resamples=300, seed=0)}
    assert list(found) == ["iou", "energy_in_mask", "saliency/mae"]
    assert (found["iou"].tau, found["saliency/mae"].tau) == (1, -1)
    assert [one.verdict for one in found.values()] == ["agrees", "does not tell", "contradicts"]
    assert (found["iou"].best, found["saliency/mae"].best, found["iou"].methods) == ("a", "d", 4)
    assert found["energy_in_mask"].low < 0 < found["energy_in_mask"].high
    assert agreements(read_runs([folder]), "causal_truth", resamples=300, seed=0) == list(found.values())


def test_methods_that_a_figure_has_not_measured_are_left_out(folder: Path) -> None:
    lacking = [(key, target, {"causal_truth": 0.9}) for key, target, _ in rows_of(0.9, 9)]
    write_run(folder / "explainers" / "e", "e", lacking)
    found = {one.figure: one for one in agreements(read_runs([folder]), "causal_truth", resamples=10, seed=0)}
    assert (found["iou"].methods, found["iou"].tau) == (4, 1)


def test_figures_that_are_all_equal_come_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their τ is NaN; the images are drawn once for all figures."""
    for number, (name, level) in enumerate(LEVELS.items()):
        rows = [(key, target, {"f_cls": 0.5, **of, "accuracy": 1.0}) for key, target, of in rows_of(level, number)]
        write_run(tmp_path / name, name, rows)
    draws = []

    def counted(columns: Sequence[Rows], images: int, *, resamples: int, seed: int) -> Floats:
        draws.append(len(columns))
        return bootstrap_means(columns, images, resamples=resamples, seed=seed)

    monkeypatch.setattr(agreement, "bootstrap_means", counted)
    runs = read_runs(sorted(path for path in tmp_path.iterdir()))
    found = agreements(runs, "causal_truth", resamples=20, seed=0)
    assert [one.figure for one in found] == ["iou", "energy_in_mask", "saliency/mae", "f_cls", "accuracy"]
    assert [one.verdict for one in found[3:]] == ["does not tell"] * 2
    assert np.isnan([one.tau for one in found[3:]]).all()
    assert draws == [6 * len(LEVELS)]


def test_the_command_writes_both_tables(folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([str(folder), "--resamples", "50", "--out", str(tmp_path / "new" / "table.md")]) == 0
    text = (tmp_path / "new" / "table.md").read_text()
    assert "| iou | +1.00 | +1.00 … +1.00 | 4 | a | agrees |" in text
    rows = [line.split(" | ") for line in text.partition("| method |")[2].splitlines()[2:]]
    assert [row[0] for row in rows] == ["| a", "| b", "| c", "| d"]
    assert [row[1].partition(" ")[2] for row in rows] == ["(1)", "(2)", "(3)", "(4)"]
    assert main([str(folder), "--resamples", "50"]) == 0
    assert capsys.readouterr().out == text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["--truth", "faith"], "--truth is 'faith', which fewer than 3"), (["--resamples", "0"], "resamples is 0; give ")],
)
def test_wrong_options_are_one_sentence(
    arguments: list[str], told: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(folder), *arguments]) == 2
    assert told in capsys.readouterr().err
