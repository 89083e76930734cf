"""Leaves the table of the filters that each class rests on."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import WandbLogger
from typing_extensions import override

from callbacks.run_access import class_names
from vitrine.filters.layer_selection import selection_by_layer
from vitrine.filters.relevance import (
    COLUMNS,
    PICK_COLUMNS,
    RelevantFilter,
    filters_by_relevance,
    write_layer_selection,
    write_relevance,
)

Table = tuple[Sequence[str], Sequence[Mapping[str, Any]]]
"""Columns and rows."""


class RelevanceTable(pl.Callback):
    """Writes ``relevance.csv``, ``relevance.json`` and ``picks.csv`` into the run's folder, after fitting and after a test.

    ``relevance`` has the layer/filter pairs of each class by falling weight, ``picks`` the share that each layer has of them.
    W&B, where such a logger is in use, gets both as tables.

    Raises:
        ValueError: before fitting or testing, where the module's explainer selects no filters.
    """

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        selecting_explainer(pl_module, self)

    @override
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._leave(trainer, pl_module)

    @override
    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._leave(trainer, pl_module)

    def _leave(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        explainer = selecting_explainer(pl_module, self)
        rows = relevant_filters(trainer, pl_module, self)
        selection = selection_by_layer(explainer.weights, explainer.responses.layers)
        folder = Path(trainer.default_root_dir)
        write_relevance(folder, rows)
        write_layer_selection(folder, selection)
        tables: dict[str, Table] = {
            "relevance": (COLUMNS, [row.columns() for row in rows]),
            "picks": (PICK_COLUMNS, [asdict(layer) for layer in selection]),
        }
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                log_tables(logger, tables, trainer.global_step)


def log_tables(logger: WandbLogger, tables: Mapping[str, Table], step: int) -> None:
    """Sends tables to W&B."""
    import wandb  # noqa: PLC0415 - starts slowly, and only runs with this logger need it

    sent = {
        name: wandb.Table(list(columns), [[row[column] for column in columns] for row in rows])
        for name, (columns, rows) in tables.items()
    }
    logger.experiment.log({**sent, "trainer/global_step": step})


def selecting_explainer(pl_module: pl.LightningModule, callback: pl.Callback) -> Any:
    """The module's explainer, which has selected filters by their responses.

    Raises:
        ValueError: If it does no such thing.
    """
    explainer = getattr(pl_module, "explainer", None)
    if not (hasattr(explainer, "responses") and hasattr(explainer, "weights")):
        raise ValueError(
            f"{type(callback).__name__} needs an explainer that selects filters, such as MuLassoExplainer, got"
            f" {type(explainer).__name__}."
        )
    return explainer


def relevant_filters(trainer: pl.Trainer, pl_module: pl.LightningModule, callback: pl.Callback) -> list[RelevantFilter]:
    """The filters that the explainer has selected, class by class, the most relevant first."""
    explainer = selecting_explainer(pl_module, callback)
    names = class_names(trainer, pl_module, callback)
    return filters_by_relevance(explainer.weights, explainer.responses.layers, names)
