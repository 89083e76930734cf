"""The paper's tables, from what was measured."""

import math
import statistics
from collections.abc import Mapping
from typing import Any

from benchmarks.common import show
from benchmarks.cub.fitting import APPROACHES

Runs = Mapping[str, Mapping[str, Any]]
"""Figures by seed."""

COLUMNS = {
    "f_reg_train": ("F_reg train", 3),
    "f_reg_test": ("F_reg test", 3),
    "f_cls_train": ("F_cls train %", 2),
    "f_cls_test": ("F_cls test %", 2),
    "orthogonality/o1": ("O1", 3),
    "orthogonality/o2": ("O2", 2),
    "locality": ("Locality", 3),
    "locality_contributing": ("Locality, contributing", 3),
    "contributing": ("contributing", 1),
}

GAMMAS = ("1", "5", "10", "30")


def cell(runs: Runs, name: str, digits: int) -> str:
    """Mean ± standard deviation over seeds; a dash where nothing was measured."""
    factor = 100 if name.startswith(("f_cls", "masked_accuracy")) else 1
    values = [factor * run[name] for run in runs.values() if not math.isnan(run.get(name, math.nan))]
    if not values:
        return "—"
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def show_tables(results: Mapping[str, Mapping[str, Runs]]) -> None:
    """Table 1, 2a and 2b with 4, of each network."""
    for network, approaches in results.items():
        rows = [
            [APPROACHES[name].title, *(cell(runs, column, digits) for column, (_, digits) in COLUMNS.items())]
            for name, runs in approaches.items()
        ]
        show(f"{network}: faithfulness, orthogonality, locality", ["", *(title for title, _ in COLUMNS.values())], rows)
        _show_alphas(network, approaches.get("lasso", {}))
        _show_masked(network, approaches)


def _show_alphas(network: str, runs: Runs) -> None:
    rows = [
        [f"{row['alpha']:g}", f"{row['dimensions']:.0f}", f"{row['train']['f_reg']:.3f}", f"{row['test']['f_reg']:.3f}"]
        for run in runs.values()
        for row in run.get("alphas", ())
        if row["train"]
    ]
    if rows:
        show(f"{network}: Lasso", ["alpha", "dimensions", "F_reg train", "F_reg test"], rows)


def _show_masked(network: str, approaches: Mapping[str, Runs]) -> None:
    rows = [
        [
            APPROACHES[name].title,
            cell(runs, "masked_accuracy/original", 1),
            *(_masked(runs, gamma) for gamma in GAMMAS),
        ]
        for name, runs in approaches.items()
        if any("masked_accuracy/original" in run for run in runs.values())
    ]
    if rows:
        titles = ["", "original", *(f"γ = {g} % (area)" for g in GAMMAS)]
        show(f"{network}: accuracy in % on masked images, and the area that was kept", titles, rows)


def _masked(runs: Runs, gamma: str) -> str:
    accuracy, area = f"masked_accuracy/{gamma}", f"masked_accuracy/kept_area_{gamma}"
    return f"{cell(runs, accuracy, 1)} ({cell(runs, area, 0)})"
