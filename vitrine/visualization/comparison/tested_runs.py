"""Tested runs: what ``train.py test`` has written into the folders that are compared."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from vitrine.visualization.comparison.per_image import PER_IMAGE_NAME, PerImage, read_per_image

METRICS_NAME, LIMITED_METRICS_NAME = "metrics.json", "metrics-limited.json"
EVALUATION_NAME, SEVERAL_NAME = "evaluation.json", "explainers"


@dataclass(frozen=True)
class RunCurve:
    """A curve of one run."""

    x: Sequence[float]
    y: Sequence[float]
    x_label: str
    y_label: str
    spread: Sequence[float] = ()
    """Standard deviation over the images; empty where it was not kept."""


@dataclass(frozen=True)
class RunRecord:
    """One tested method."""

    folder: Path
    name: str
    data: str
    """The datamodule."""
    explain: str = ""
    """Which classes were explained."""
    settings: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    """By name without ``test/``; NaN where there is no value."""
    curves: Mapping[str, RunCurve] = field(default_factory=dict)
    per_image: PerImage = field(default_factory=PerImage)


def read_runs(folders: Iterable[Path]) -> list[RunRecord]:
    """Reads tested runs; a folder with a folder ``explainers`` stands for all runs in that.

    Runs of one name get their folders behind it; a folder that is named twice is read once.

    Raises:
        FileNotFoundError: for a folder that is not there, or that holds no complete test.
        ValueError: for a damaged file, or tests on different data sets.
    """
    places = {place.resolve(): place for folder in folders for place in _places(folder)}
    runs = [_read_run(place) for place in places.values()]
    if not runs:
        raise ValueError("There is nothing to compare: give the folders of runs that train.py test has tested.")
    _check_same_data(runs)
    return _told_apart(runs)


def _places(folder: Path) -> list[Path]:
    """The folders of tests that a run stands for."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder: give the folder of a run that train.py test has tested.")
    several = folder / SEVERAL_NAME
    inside = [path for path in several.iterdir() if path.is_dir() and path.name[0] != "."] if several.is_dir() else []
    return sorted(inside) or [folder]


def _read_run(folder: Path) -> RunRecord:
    metrics = folder / METRICS_NAME
    if not metrics.is_file() and (folder / LIMITED_METRICS_NAME).is_file():
        raise FileNotFoundError(
            f"{folder} holds a test of a part of the images alone ({LIMITED_METRICS_NAME}): run train.py test"
            " without a limit on batches."
        )
    for path in (metrics, folder / EVALUATION_NAME):
        if not path.is_file():
            raise FileNotFoundError(f"{folder} holds no {path.name}: run train.py test first.")
    per_image = folder / PER_IMAGE_NAME
    return replace(
        read_evaluation(folder),
        figures=_read_figures(metrics),
        per_image=read_per_image(per_image) if per_image.is_file() else PerImage(),
    )


def read_evaluation(folder: Path) -> RunRecord:
    """What a test has written of itself in ``evaluation.json``, without figures.

    Raises:
        ValueError: where the file is damaged.
    """
    path = folder / EVALUATION_NAME
    document = _read_object(path)
    try:
        return RunRecord(
            folder,
            name=_text(document, "name"),
            data=_text(document, "data"),
            explain=str(document.get("explain") or ""),
            settings={str(key): str(value) for key, value in (document.get("settings") or {}).items()},
            curves={str(name): _curve(curve) for name, curve in (document.get("curves") or {}).items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error!r}): run train.py test again.") from None


def _text(document: Mapping[str, Any], key: str) -> str:
    value = document[key]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key}: {value!r}")
    return value


def _curve(curve: Mapping[str, Any]) -> RunCurve:
    x, y = ([_number(value) for value in curve[axis]] for axis in ("x", "y"))
    spread = [_number(value) for value in curve.get("spread") or ()]
    if len(x) != len(y) or len(spread) not in {0, len(y)}:
        raise ValueError(f"{len(x)} values of x and {len(y)} of y, {len(spread)} of their spread")
    return RunCurve(x, y, str(curve.get("x_label", "")), str(curve.get("y_label", "")), spread)


def _read_figures(path: Path) -> dict[str, float]:
    try:
        return {name.removeprefix("test/"): _number(value) for name, value in _read_object(path).items()}
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}): run train.py test again.") from None


def _number(value: object) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of JSON and of UTF-8
        raise ValueError(f"{path} is damaged ({error}): run train.py test again.") from None
    if not isinstance(document, dict):
        raise ValueError(f"{path} is damaged (no JSON object): run train.py test again.")
    return document


def _check_same_data(runs: Sequence[RunRecord]) -> None:
    for run in runs[1:]:
        if run.data != runs[0].data:
            raise ValueError(
                f"{runs[0].folder} was tested on {runs[0].data} and {run.folder} on {run.data}: compare runs on the same"
                " images."
            )
    for run, other in combinations([run for run in runs if run.per_image.keys], 2):
        if set(run.per_image.keys).isdisjoint(other.per_image.keys):
            raise ValueError(
                f"{run.folder} and {other.folder} have no tested image in common: compare runs on the same images."
            )


def _told_apart(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """The runs, with folders behind the names that several have."""
    shared = [name for name, count in Counter(run.name for run in runs).items() if count > 1]
    labels: dict[Path, str] = {}
    for name in shared:
        labels |= _labels([run.folder for run in runs if run.name == name])
    return [replace(run, name=f"{run.name} ({labels[run.folder]})") if run.folder in labels else run for run in runs]


def _labels(folders: Sequence[Path]) -> dict[Path, str]:
    """The shortest ends of paths that tell folders apart, without ``explainers/NAME`` where that is enough."""
    places = [folder.resolve() for folder in folders]
    origins = [place.parents[1] if place.parent.name == SEVERAL_NAME else place for place in places]
    for paths in (origins, places):
        for length in range(1, max(len(path.parts) for path in paths) + 1):
            labels = ["/".join(path.parts[-length:]) for path in paths]
            if len(set(labels)) == len(labels):
                return dict(zip(folders, labels, strict=True))
    raise AssertionError("resolved folders are distinct")  # pragma: no cover
