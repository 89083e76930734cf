"""The flower's comparison with causal truth, by its file, on a tiny rendered set; and which figures agree with it."""

from collections.abc import Sequence
from pathlib import Path

import pytest

import train
from experiments.agreement import main
from experiments.planning import Places
from experiments.reading import find_experiment
from experiments.running import Runner
from experiments.tables import read_cells
from vitrine.data.an8flower import generate, ray_casting
from vitrine.data.an8flower.settings import FlowerSettings

ROOT = Path(__file__).parents[2]


def run_train(arguments: Sequence[str]) -> None:
    train.main(list(arguments))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Flowers in rough light, which costs little."""
    monkeypatch.setattr(ray_casting, "_AMBIENT_RAYS", 3)
    generate._renderer.cache_clear()
    settings = FlowerSettings(
        "single-6c", views=2, size=40, crops=1, rotations=1, crop_size=36, folds=2, without_parts=True
    )
    generate.generate(settings, tmp_path / "an8flower-truth" / "single-6c", workers=1)
    generate._renderer.cache_clear()
    for name in ("double-12c", "double-12c-training"):  # which are not tested here
        (tmp_path / "an8flower-truth" / name).mkdir()
    return tmp_path


def test_the_comparison(data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["train.py"])
    experiment, places = find_experiment("flower/causal_truth"), Places(data, data / "out", tiny=True)
    Runner(experiment, places, run_train).run(["single"])
    cells = read_cells(experiment, places)
    measured = {label: row for label, row in cells.items() if row["causal truth"].values}
    assert set(measured) == {"Saliency", "c-MWP", "Center"}
    for label, row in measured.items():
        assert [title for title, cell in row.items() if not cell.values] == [], label
        assert -1 <= row["causal truth"].mean <= 1
    assert cells["c-MWP"]["causal truth"].mean > cells["Center"]["causal truth"].mean
    capsys.readouterr()
    assert main([str(places.folder(experiment) / "single"), "--resamples", "20"]) == 0
    told = capsys.readouterr().out
    assert "| iou | " in told
    assert "| infidelity | " in told
