"""ComparisonTable: the table, curves and pictures of several explainers that one test has measured."""

from pathlib import Path

import pytorch_lightning as pl
from rich.console import Console
from typing_extensions import override

from callbacks.loggers import Table, log_tables
from callbacks.run_access import EXPLAINERS, explainers_of, is_trial
from callbacks.run_folder import tests_all
from vitrine.visualization.comparison import ComparisonOptions, comparison_table, read_comparison, write_comparison


class ComparisonTable(pl.Callback):
    """Writes ``compare.csv``, ``.md`` and ``.html`` into the run's folder after a test of several explainers.

    They are those of ``python -m vitrine.compare RUN``; W&B, where its logger is in use, gets a table ``comparison``. A test
    of one explainer, and one under ``limit_test_batches`` or ``fast_dev_run``, writes none. It reads what `ImageFigures` has
    written, so it has to come after it.
    """

    @override
    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        folder = Path(trainer.default_root_dir)
        names = explainers_of(pl_module)
        is_written = trainer.is_global_zero and tests_all(trainer) and not is_trial(trainer)
        runs = [folder / EXPLAINERS / name for name in names]
        if not is_written or not runs or not all((run / "evaluation.json").is_file() for run in runs):
            return
        comparison = read_comparison(runs, ComparisonOptions())
        table = write_comparison(comparison, folder)
        log_tables(trainer, {"comparison": Table(*comparison_table(comparison))})
        Console(soft_wrap=True, highlight=False, markup=False).print(f"Comparison: {table}")
