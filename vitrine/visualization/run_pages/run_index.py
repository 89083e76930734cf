"""Index of a run's folder: ``index.html`` with everything that the run has written, and its metrics."""

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from urllib.parse import quote

from vitrine.core.atomic_io import atomic_file
from vitrine.core.folder_manifest import MANIFEST
from vitrine.visualization.report.document import document
from vitrine.visualization.report.metric_tiles import metric_tiles
from vitrine.visualization.run_pages.curves_page import PAGE as CURVES
from vitrine.visualization.run_pages.curves_page import curve_figures, evaluations_of, write_curves_page
from vitrine.visualization.run_pages.results import Result, files_of, results_of

INDEX = "index.html"
METRICS = {
    "metrics.json": "Metrics of the test",
    "metrics-limited.json": "Metrics of a test of a part of the images",
    "metrics-fit.json": "Metrics of the training",
}


def write_run_index(folder: Path) -> Path:
    """Writes ``index.html``, and ``curves.html`` where there are curves, of a run's folder, and returns the index's path.

    Args:
        folder: of the run; what it holds decides what the page lists.

    Raises:
        FileNotFoundError: where there is no such folder.
        ValueError: for a damaged ``evaluation.json`` or file of metrics, and for a part of a run's folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder: give the folder of a run.")
    if (folder / MANIFEST).is_file():
        raise ValueError(f"{folder} is a part of a run's folder: give the run's own folder, {folder.resolve().parent}.")
    write_curves_page(folder)
    title = f"Results{_of_what(folder)}"
    body = f"""<header><h1>{escape(title)}</h1>{_metrics(folder)}</header>
<main>{_results(folder)}{_files(files_of(folder))}</main>"""
    with atomic_file(folder / INDEX) as partial:
        partial.write_text(document(title, body, styles=("run_index.css",)), encoding="utf-8")
    return folder / INDEX


def _of_what(folder: Path) -> str:
    """The explainers and the data set of what was tested; the folder's own name may come out of the environment."""
    runs = evaluations_of(folder)
    return f": {', '.join(run.name for run in runs)} on {runs[0].data.removesuffix('DataModule')}" if runs else ""


def _metrics(folder: Path) -> str:
    """The figures of the test, or else of the training; several explainers have theirs in the comparison."""
    for name, title in METRICS.items():
        path = folder / name
        if path.is_file():
            shown = metric_tiles(_read(path)) if not (folder / "explainers").is_dir() else ""
            return f'<section class="about"><h2>{title}</h2>{shown}</section>' if shown else ""
    return ""


def _read(path: Path) -> dict[str, float]:
    try:
        return {
            name: float("nan") if value is None else float(value)
            for name, value in json.loads(path.read_text("utf-8")).items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error}): run train.py again.") from None


def _results(folder: Path) -> str:
    cards = "".join(_card(folder, result) for result in results_of(folder))
    return f'<div class="results">{cards or "<p>There are no pages or pictures yet.</p>"}</div>'


def _card(folder: Path, result: Result) -> str:
    if result.page == CURVES:
        shown = next(iter(curve_figures(folder)), "")
    elif result.picture is None:
        shown = ""
    else:
        shown = f'<img src="{escape(quote(result.picture))}" alt="" loading="lazy">'
    return (
        f'<a class="result" href="{escape(quote(result.page))}"><div class="thumb">{shown}</div>'
        f"<b>{escape(result.title)}</b><span>{escape(result.text)}</span></a>"
    )


def _files(files: Mapping[str, str]) -> str:
    rows = "".join(
        f'<li><a href="{escape(quote(name))}">{escape(name)}</a> {escape(text)}</li>' for name, text in files.items()
    )
    return f"<section><h2>Files</h2><ul>{rows}</ul></section>" if rows else ""
