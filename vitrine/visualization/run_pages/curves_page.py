"""HTML page of a run's curves: insertion and deletion, IoU by threshold and others, of each explainer in one plot."""

from collections.abc import Iterable
from pathlib import Path

from vitrine.core.atomic_io import atomic_file
from vitrine.visualization.comparison.curves import curves_figure
from vitrine.visualization.comparison.tested_runs import EVALUATION_NAME, SEVERAL_NAME, RunRecord, read_evaluation
from vitrine.visualization.report.document import document
from vitrine.visualization.report.metric_tiles import readable

PAGE = "curves.html"
LEAD = """Each line is the mean over the tested images. The band around a line, where there is one, is the standard deviation
over the images, ± 1."""


def write_curves_page(folder: Path) -> Path | None:
    """Writes ``curves.html`` of what ``evaluation.json`` holds, and returns its path; None where there is no curve.

    Raises:
        ValueError: for a damaged ``evaluation.json``.
    """
    figures = list(curve_figures(folder))
    if not figures:
        (folder / PAGE).unlink(missing_ok=True)  # of an earlier test
        return None
    body = f"""<header><h1>Curves</h1><p class="lead">{LEAD}</p></header>
<main><div class="curves">{"".join(figures)}</div></main>"""
    with atomic_file(folder / PAGE) as partial:
        text = document("Curves", body, styles=("comparison.css",))
        partial.write_text(text, encoding="utf-8")
    return folder / PAGE


def curve_figures(folder: Path) -> Iterable[str]:
    """The plots of a run, as HTML figures."""
    runs = evaluations_of(folder)
    methods = [run.name for run in runs]
    names = dict.fromkeys(name for run in runs for name in run.curves)
    for name in sorted(names, key=lambda name: not name.startswith("insertion_deletion/")):
        figure = curves_figure(
            readable(name), {run.name: run.curves[name] for run in runs if name in run.curves}, methods
        )
        if figure:
            yield figure


def evaluations_of(folder: Path) -> list[RunRecord]:
    """What the tests of a run's explainers have written of themselves; nothing without a test."""
    several = sorted((folder / SEVERAL_NAME).glob(f"*/{EVALUATION_NAME}"))
    single = folder / EVALUATION_NAME
    return [read_evaluation(path.parent) for path in several or ([single] if single.is_file() else [])]
