"""Figures of experiments: charts of curves that tests leave, and copies of pictures that runs draw."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.line_chart import Line, line_chart
from experiments.planning import Places
from experiments.reading import rows_of
from experiments.schema import Experiment
from experiments.tables import run_folders
from vitrine.core.atomic_io import atomic_file

EVALUATION_NAME = "evaluation.json"


def write_figures(experiment: Experiment, places: Places) -> list[Path]:
    """Writes the charts and copies the pictures whose runs are there, into the experiment's folder; returns their files."""
    places.folder(experiment).mkdir(parents=True, exist_ok=True)
    return sorted([*_charts(experiment, places), *_pictures(experiment, places)])


def _charts(experiment: Experiment, places: Places) -> list[Path]:
    written = []
    for name in experiment.figures.curves:
        lines, labels = {}, ("", "")
        for label, named in rows_of(experiment).items():
            found = [_curve(place, name) for place in run_folders(experiment, named, places)]
            curves = [curve for curve in found if curve is not None]
            if curves:
                lines[label] = _mean(curves)
                labels = (curves[0].get("x_label", ""), curves[0].get("y_label", name))
        if lines:
            path = places.folder(experiment) / f"{name.replace('/', '-')}.svg"
            with atomic_file(path) as partial:
                partial.write_text(line_chart(lines, experiment.title, *labels), encoding="utf-8")
            written.append(path)
    return written


def _curve(folder: Path, name: str) -> Mapping[str, Any] | None:
    try:
        curves = json.loads((folder / EVALUATION_NAME).read_text(encoding="utf-8")).get("curves", {})
    except FileNotFoundError:
        return None
    curve: Mapping[str, Any] | None = curves.get(name)
    return curve


def _mean(curves: list[Mapping[str, Any]]) -> Line:
    """Of the runs of a row, at the places of the first; runs at other places are left out."""
    x = curves[0]["x"]
    columns = zip(*(curve["y"] for curve in curves if curve["x"] == x), strict=True)
    return Line(x, [_mean_of([value for value in values if value is not None]) for values in columns])


def _mean_of(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _pictures(experiment: Experiment, places: Places) -> list[Path]:
    written = []
    for name, place in experiment.figures.pictures.items():
        run, _, pattern = place.partition("/")
        found = sorted(places.run_folder(experiment, run).glob(pattern))
        if found:
            target = places.folder(experiment) / f"{Path(name).stem}{found[-1].suffix}"
            shutil.copyfile(found[-1], target)
            written.append(target)
    return written
