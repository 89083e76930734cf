"""A run's folder with some results."""

from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.tested_runs import write_run

CURVES = {"insertion_deletion/insertion": {"x": [0, 1], "y": [0.2, 0.8], "spread": [0.1, 0.1]}}


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), "#336699").save(path)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = write_run(tmp_path / "a run", "SRAE", figures={"iou": 43.2}, curves=CURVES)
    for name in ("report", "x_features"):
        (run / name).mkdir()
        (run / name / "index.html").write_text("<p>a page</p>")
    picture(run / "report" / "images" / "0001-1.webp")
    picture(run / "report" / "images" / "0001.webp")
    picture(run / "x_features" / "lo & on" / "x-feature-1.png")
    for step in (10, 9):
        picture(run / "panels" / f"epoch-0000-step-{step:06d}.png")
    return run
