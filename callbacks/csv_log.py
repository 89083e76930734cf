"""RunCSVLogger: the figures of a run as one CSV file for each stage, which a resumed fit goes on with."""

import csv
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.utilities import rank_zero_only
from typing_extensions import override

from vitrine.core.atomic_io import atomic_file
from vitrine.core.distributed import global_rank

FOLDER = "logs"
"""Folder of the run's folder with a folder for each stage."""
FIT_TABLE = f"{FOLDER}/fit/{ExperimentWriter.NAME_METRICS_FILE}"


class _ContinuedWriter(ExperimentWriter):
    """Writes after the rows that an earlier process has left, where Lightning's own deletes them."""

    @override
    def _check_log_dir_exists(self) -> None:
        """Leaves the file for `keep_before`."""

    def keep_before(self, step: int) -> None:
        """Takes over the rows of earlier steps; later ones were lost with the process that made them."""
        path = Path(self.metrics_file_path)
        if not path.is_file():
            return
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = [row for row in reader if int(row.get("step") or 0) < step]
            self.metrics_keys = list(reader.fieldnames or ()) if rows else []
        if not rows:
            path.unlink()
            return
        with atomic_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=self.metrics_keys)
            writer.writeheader()
            writer.writerows(rows)


class RunCSVLogger(CSVLogger):
    """Writes ``logs/STAGE/metrics.csv`` in the run's folder: one file for a fit, however often it was stopped and resumed.

    A test or validation replaces the file of an earlier one.

    Args:
        folder: of the run.
        stage: ``fit``, ``validate``, ``test`` or ``predict``.
    """

    def __init__(self, folder: str, stage: str) -> None:
        super().__init__(folder, name=FOLDER, version=stage)
        self._begun = False

    @property
    @override
    def experiment(self) -> Any:
        if self._experiment is None and global_rank() == 0:
            self._experiment = _ContinuedWriter(log_dir=self.log_dir)
        return super().experiment

    @override
    @rank_zero_only
    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        if not self._begun:
            self.experiment.keep_before((step or 0) if self.version == "fit" else 0)
            self._begun = True
        super().log_metrics(metrics, step)
