"""Figures: a chart of the rows' curves, copies of the last pictures."""

import json
from pathlib import Path
from typing import Any

from experiments.pictures import write_figures
from experiments.running import Runner
from tests.helpers.experiment_files import experiment_of, places_in


def write_curve(folder: Path, y: list[Any], x: tuple[float, ...] = (0, 1)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    curve = {"x": list(x), "y": y, "x_label": "t", "y_label": "IoU"}
    (folder / "evaluation.json").write_text(json.dumps({"curves": {"iou": curve}}))


def test_charts_and_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "out/paper2020/table"
    write_curve(folder / "a-0", [0.0, 0.5])
    write_curve(folder / "a-1", [1.0, None])
    write_curve(folder / "b", [1.0, 1.0])
    for epoch in (19, 99):
        (folder / "b/panels").mkdir(exist_ok=True)
        (folder / f"b/panels/epoch-{epoch}.png").write_bytes(bytes([epoch]))
    experiment = experiment_of(
        tmp_path,
        runs={"a": {"over": {"s": [0, 1]}}, "b": {}, "c": {}},
        figures={
            "curves": ["iou", "deletion"],
            "rows": {"A": "a", "B": "b", "C": "c"},
            "pictures": {"figure4": "b/panels/*.png", "none": "c/x.png"},
        },
    )
    assert write_figures(experiment, places_in(tmp_path)) == []  # of runs that are not complete
    Runner(experiment, places_in(tmp_path), lambda _: None, str).run()
    written = write_figures(experiment, places_in(tmp_path))
    assert [path.name for path in written] == ["figure4.png", "iou.svg"]
    assert written[0].read_bytes() == bytes([99])
    chart = written[1].read_text()
    flat, top = "M58.0,284.0 L506.0,284.0", "M58.0,12.0 L506.0,12.0"
    assert flat in chart  # A: the mean of 0 and 1, and 0.5 alone
    assert top in chart  # B
    assert ">A<" in chart
    assert ">C<" not in chart
