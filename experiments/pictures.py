"""Figures of experiments: charts of curves that tests leave, and copies of pictures that runs draw."""

import json
import math
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from experiments.planning import Places
from experiments.reading import rows_of
from experiments.running import complete_folders
from experiments.schema import Experiment
from experiments.tables import only_complete, run_folders
from vitrine.core.atomic_io import atomic_file
from vitrine.visualization.comparison.curves import curves_file
from vitrine.visualization.comparison.tested_runs import RunCurve

EVALUATION_NAME = "evaluation.json"


def write_figures(experiment: Experiment, places: Places) -> list[Path]:
    """Writes charts and copies pictures of complete runs into the experiment's folder; returns their files."""
    places.folder(experiment).mkdir(parents=True, exist_ok=True)
    complete = complete_folders(experiment, places)
    return sorted([*_charts(experiment, places, complete), *_pictures(experiment, places, complete)])


def _charts(experiment: Experiment, places: Places, complete: Collection[Path]) -> list[Path]:
    written = []
    for name in experiment.figures.curves:
        curves: dict[str, RunCurve] = {}
        for label, named in rows_of(experiment).items():
            folders = only_complete(run_folders(experiment, named, places), complete)
            found = [_curve(folder, name) for folder in folders]
            of_row = [curve for curve in found if curve is not None]
            if of_row:
                curves[label] = _mean(of_row, name)
        chart = curves_file(experiment.title, curves)
        if chart:
            path = places.folder(experiment) / f"{name.replace('/', '-')}.svg"
            with atomic_file(path) as partial:
                partial.write_text(chart, encoding="utf-8")
            written.append(path)
    return written


def _curve(folder: Path, name: str) -> Mapping[str, Any] | None:
    try:
        curves = json.loads((folder / EVALUATION_NAME).read_text(encoding="utf-8")).get("curves", {})
    except FileNotFoundError:
        return None
    curve: Mapping[str, Any] | None = curves.get(name)
    return curve


def _mean(curves: list[Mapping[str, Any]], name: str) -> RunCurve:
    """Of the runs of a row, at the places of the first; runs at other places are left out."""
    first = curves[0]
    columns = zip(*(curve["y"] for curve in curves if curve["x"] == first["x"]), strict=True)
    means = [_mean_of([value for value in values if value is not None]) for values in columns]
    return RunCurve(first["x"], means, first.get("x_label", ""), first.get("y_label", name))


def _mean_of(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _pictures(experiment: Experiment, places: Places, complete: Collection[Path]) -> list[Path]:
    written = []
    for name, place in experiment.figures.pictures.items():
        run, _, pattern = place.partition("/")
        folder = places.run_folder(experiment, run)
        found = sorted(folder.glob(pattern)) if folder in complete else []
        if found:
            target = places.folder(experiment) / f"{Path(name).stem}{found[-1].suffix}"
            shutil.copyfile(found[-1], target)
            written.append(target)
    return written
