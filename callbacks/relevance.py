"""RelevanceTable: writes the table of the filters that each class rests on."""

from collections.abc import Sequence
from dataclasses import astuple
from typing import Protocol, cast

import pytorch_lightning as pl
from torch import Tensor
from typing_extensions import override

from callbacks.loggers import Table, log_tables
from callbacks.run_access import Run
from vitrine.data.contracts import satisfies
from vitrine.filters.layer_selection import selection_by_layer
from vitrine.filters.relevance import (
    COLUMNS,
    PICK_COLUMNS,
    RelevantFilter,
    filters_by_relevance,
    write_layer_selection,
    write_relevance,
)
from vitrine.filters.responses import FilterResponses

NEEDED = "an explainer that selects filters, such as MuLassoExplainer"


class SelectsFilters(Protocol):
    """An explainer that has selected filters by their responses."""

    @property
    def responses(self) -> FilterResponses:
        """The m filter responses."""

    @property
    def weights(self) -> Tensor:
        """(m, C): of each response for each class, 0 where it was not selected."""


class RelevanceTable(pl.Callback):
    """Writes ``relevance.csv``, ``relevance.json`` and ``picks.csv`` into the run's folder, after fitting and after a test.

    ``relevance`` has the layer/filter pairs of each class by falling weight, ``picks`` the share that each layer has of them.
    W&B, where such a logger is in use, gets both as tables.

    Raises:
        ValueError: before fitting or testing, where the module's explainer selects no filters, or it has several.
    """

    def unmet(self, run: Run) -> str:
        """An explainer that selects filters, where the run's is none; the callback is left out then."""
        return unmet_by(run)

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        run = Run(trainer, pl_module, self)
        run.check_alone()
        selecting_explainer(run)

    @override
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._write(Run(trainer, pl_module, self))

    @override
    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._write(Run(trainer, pl_module, self))

    def _write(self, run: Run) -> None:
        if not run.trainer.is_global_zero:
            return
        explainer, filters = selecting_explainer(run), relevant_filters(run)
        selection = selection_by_layer(explainer.weights, explainer.responses.layers)
        write_relevance(run.folder, filters)
        write_layer_selection(run.folder, selection)
        tables = {
            "relevance": Table(COLUMNS, [list(row.columns().values()) for row in filters]),
            "picks": Table(PICK_COLUMNS, [astuple(layer) for layer in selection]),
        }
        log_tables(run.trainer, tables)


def selecting_explainer(run: Run) -> SelectsFilters:
    """The module's explainer, which has selected filters by their responses.

    Raises:
        ValueError: where it has not.
    """
    if satisfies(run.explainer, SelectsFilters):
        return cast("SelectsFilters", run.explainer)
    raise run.refusal(NEEDED, run.explainer)


def unmet_by(run: Run) -> str:
    """What is needed beside `selecting_explainer`'s run; empty where the run's one explainer selects filters."""
    return run.unmet_alone() or ("" if satisfies(run.explainer, SelectsFilters) else NEEDED)


def relevant_filters(run: Run) -> Sequence[RelevantFilter]:
    """The filters that the explainer has selected, class by class, the most relevant first."""
    explainer = selecting_explainer(run)
    return filters_by_relevance(explainer.weights, explainer.responses.layers, run.class_names)
