"""The page of curves: lines, bands of their spread, and insertion and deletion first."""

import re
from pathlib import Path

from tests.helpers.tested_runs import write_run
from vitrine.visualization.run_pages.curves_page import evaluations_of, write_curves_page

IOU = {"x": [0, 0.5, 1], "y": [0.4, None, 0.1], "x_label": "threshold", "y_label": "IoU"}
INSERTION = {"x": [0, 0.5, 1], "y": [0.1, 0.5, 0.9], "spread": [0.05, 0.2, 0.05]}


def test_a_plot_a_curve_with_a_band_where_the_spread_is_known(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "SRAE", curves={"iou": IOU, "insertion_deletion/insertion": INSERTION})
    path = write_curves_page(run)
    assert path == run / "curves.html"
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"<figcaption><b>(.*?)</b>", text) == ["insertion deletion, insertion", "iou"]
    assert text.count('class="band"') == 1
    (band,) = re.findall(r'class="band" d="M(.*?) Z"', text)
    heights = [float(point.split(",")[1]) for point in band.split(" L")]
    widths = [lower - upper for upper, lower in zip(heights[:3], heights[:2:-1], strict=True)]
    assert [round(width / widths[0], 2) for width in widths] == [1, 4, 1]


def test_no_curve_makes_no_page(tmp_path: Path) -> None:
    assert write_curves_page(write_run(tmp_path / "run", "SRAE")) is None
    assert write_curves_page(tmp_path) is None
    assert evaluations_of(tmp_path) == []
    assert not (tmp_path / "run" / "curves.html").exists()
