"""A comparison of three methods with rows, curves and examples."""

from pathlib import Path

import pytest

from tests.helpers.tested_runs import Row, random_rows, write_run
from vitrine.visualization.comparison.comparison import Comparison, read_comparison

NAMES = ("near", "far", "<b> | worst")


def compared_rows(number: int) -> list[Row]:
    """``near`` and ``far`` are the best and, by much, not the best; the last is within chance of ``far``."""
    rows = random_rows(40, number, shift=(3.0, 0.1, 0.0)[number], figures=("iou", "localization/error"))
    return [(key, target, {**values, "pointing_game": float(values["iou"] > 0)}) for key, target, values in rows]


@pytest.fixture(scope="session")
def run_folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders of three tested runs, of which the last has counts and no curve."""
    root = tmp_path_factory.mktemp("runs")
    folders = []
    for number, name in enumerate(NAMES):
        curve = {"x": [0, 0.5, 1], "y": [number, 1, 0], "x_label": "threshold", "y_label": "IoU"}
        folders.append(
            write_run(
                root / f"run{number}",
                name,
                compared_rows(number),
                examples=True,
                figures={"accuracy": 0.9, "iou/skipped": float(number == 2), "iou/best": 1.0 + number},
                curves={"iou": curve} if number < 2 else {},
                settings={"layer": f"layer{number}"},
            )
        )
    return folders


@pytest.fixture(scope="session")
def comparison(run_folders: list[Path]) -> Comparison:
    return read_comparison(run_folders)
