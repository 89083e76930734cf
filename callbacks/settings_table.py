"""SettingsTable: what a fit of many settings has come to, a row a setting."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytorch_lightning as pl
from rich.console import Console
from typing_extensions import override

from callbacks.loggers import Table, log_tables
from callbacks.metrics_table import explainers_tables
from callbacks.run_access import explainers_of, is_trial
from vitrine.core.atomic_io import atomic_file
from vitrine.core.csv_tables import write_csv_table

NAME = "settings.csv"
STAGES = ("train", "val")


class SettingsTable(pl.Callback):
    """After a fit of several explainers, writes ``settings.csv`` into the run's folder and prints its figures.

    A row a setting, with what was logged last of training (``train/f_reg``) and validation (``val/f_reg``). W&B, where its
    logger is in use, gets a table ``settings``. A fit of one explainer, and a ``fast_dev_run``, writes none.
    """

    @override
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        names = list(explainers_of(pl_module))
        # Asked for on all ranks: what Lightning has not computed by now is a collective.
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if not names or not trainer.is_global_zero or is_trial(trainer):
            return
        columns, rows = settings_table(names, values)
        path = Path(trainer.default_root_dir, NAME)
        with atomic_file(path) as partial:
            write_csv_table(partial, columns, [dict(zip(columns, row, strict=True)) for row in rows])
        log_tables(trainer, {"settings": Table(columns, rows)})
        console = Console(soft_wrap=True, highlight=False, markup=False)
        for stage in STAGES:
            of_stage = {
                key.removeprefix(f"{stage}/"): value for key, value in values.items() if key.startswith(f"{stage}/")
            }
            for table in explainers_tables(names, of_stage):
                console.print(table)
        console.print(f"Settings: {path}")


def settings_table(names: Sequence[str], values: Mapping[str, float]) -> tuple[list[str], list[list[str | float]]]:
    """Columns and rows: of each setting all that was logged of it, by ``STAGE/FIGURE``; empty where it was not.

    Args:
        names: of the settings.
        values: by ``STAGE/SETTING/FIGURE``.
    """
    of_each: dict[str, dict[str, float]] = {name: {} for name in names}
    for stage in STAGES:
        for name in names:
            start = f"{stage}/{name}/"
            of_each[name] |= {
                f"{stage}/{key.removeprefix(start)}": value for key, value in values.items() if key.startswith(start)
            }
    figures = list(dict.fromkeys(figure for found in of_each.values() for figure in found))
    return ["setting", *figures], [[name, *(of_each[name].get(figure, "") for figure in figures)] for name in names]
