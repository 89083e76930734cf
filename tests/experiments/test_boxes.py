"""The comparisons by halves: planned on all networks and sets, and run on a tiny VOC."""

import csv
from itertools import pairwise
from pathlib import Path

import pytest

import train
from experiments.halves import by_halves
from experiments.planning import Places, planned_runs
from experiments.reading import experiment_files, find_experiment
from experiments.running import ROOT, Runner
from tests.helpers.voc_sets import VOC_OBJECTS, write_voc
from vitrine.visualization.comparison.tested_runs import read_runs

NAMES = [name for name in experiment_files() if name.startswith("boxes/")]


@pytest.mark.parametrize("name", NAMES)
def test_the_runs_can_be_planned(name: str, tmp_path: Path) -> None:
    planned = planned_runs(find_experiment(name), Places(tmp_path / "data", tmp_path / "out"))
    configs = [after for one in planned for before, after in pairwise(one.arguments) if before == "-c"]
    assert configs
    assert all((ROOT / config).is_file() for config in configs)


def test_each_half_is_tested_by_a_network_of_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both runs together test every image once, and are compared by halves."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["train.py"])
    lists = write_voc(tmp_path / "data/VOCdevkit") / "VOC2007/ImageSets/Main"
    for name in ("train", "val", "trainval"):
        (lists / f"{name}.txt").unlink()
    (lists / "test.txt").write_text("".join(f"{key}\n" for key in VOC_OBJECTS))
    experiment, places = find_experiment("boxes/voc_mobilenet"), Places(tmp_path / "data", tmp_path / "out", tiny=True)
    Runner(experiment, places, lambda arguments: train.main(list(arguments)), lambda _: None).run()
    folders = [places.run_folder(experiment, f"methods-{half}") for half in ("first", "second")]
    keys = []
    for folder in folders:
        with (folder / "explainers" / "Fine" / "per_image.csv").open(encoding="utf-8") as file:
            keys.append({row["key"] for row in csv.DictReader(file)})
    assert not keys[0] & keys[1]
    assert {Path(key).stem for key in keys[0] | keys[1]} == set(VOC_OBJECTS)
    runs = [read_runs([folder]) for folder in folders]
    for figure in ("pointing_game", "localization/error/*"):
        found = {one.method: one for one in by_halves(runs, figure, "InversionMask", resamples=10)}
        assert {"InversionMask", "GuidedGradCAM", "GuidedBackprop", "ExcitationBackprop", "Center"} <= set(found)
        assert all(0 <= one.value <= 1 for one in found.values())
