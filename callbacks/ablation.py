"""Tests whether a network needs the filters that its explainer rests on."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import WandbLogger
from typing_extensions import override

from vitrine.core.atomic_io import atomic_file
from vitrine.core.batch import Batch
from vitrine.filters.heatmaps import Filter
from vitrine.metrics.ablation import ablated, random_filters
from vitrine.metrics.mean_class_accuracy import MeanClassAccuracy

NAME = "ablation.csv"
COLUMNS = ("set", "draw", "filters", "mean_class_accuracy")


class Trial(NamedTuple):
    """One way of ablating filters, and how the network does without them."""

    name: str
    draw: int
    filters: Sequence[Filter]
    accuracy: MeanClassAccuracy


class FilterAblation(pl.Callback):
    """Tests the backbone without its relevant filters, and without as many random ones of the same layers.

    It runs beside a test and logs mean class accuracies: ``test/ablation/original`` with all filters,
    ``test/ablation/selected`` without those of ``explainer.relevant_filters()``, and ``test/ablation/random``, the mean over
    the draws; and ``test/ablation/filters``, how many are ablated (section 4.1 and figure 4 of Oramas et al., ICLR 2019).
    The run's folder gets ``ablation.csv``, and W&B, where its logger is in use, a table ``ablation``, with a row for each
    draw. Each image costs 2 + ``draws`` further forward passes, on the rank that tests it.

    Args:
        draws: Number of random sets.
        seed: Of the draws.

    Raises:
        ValueError: If ``draws`` is below 1.
    """

    def __init__(self, draws: int = 3, seed: int = 0) -> None:
        super().__init__()
        if draws < 1:
            raise ValueError(f"FilterAblation: draws must be at least 1, got {draws}.")
        self.draws, self.seed = draws, seed
        self._trials: list[Trial] = []

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Sees to it that there are relevant filters to speak of.

        Raises:
            ValueError: If the module's explainer does not name any.
        """
        explainer = getattr(pl_module, "explainer", None)
        if not hasattr(explainer, "relevant_filters"):
            raise ValueError(
                "FilterAblation needs a module whose explainer has relevant filters, such as MuLassoModule, got"
                f" {type(pl_module).__name__}."
            )

    @override
    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws the random sets, the same on all ranks."""
        explainer: Any = pl_module.explainer
        selected = list(dict.fromkeys(explainer.relevant_filters()))
        widths = {layer.name: layer.width for layer in explainer.responses.layers}
        generator = torch.Generator().manual_seed(self.seed)
        draws = [("random", draw, random_filters(selected, widths, generator)) for draw in range(1, self.draws + 1)]
        sets: list[tuple[str, int, list[Filter]]] = [("original", 0, []), ("selected", 0, selected), *draws]
        self._trials = [Trial(*entry, MeanClassAccuracy().to(pl_module.device)) for entry in sets]

    @override
    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Classifies the batch's images without each set of filters."""
        explainer: Any = pl_module.explainer
        for trial in self._trials:
            # As in the steps, so that the original accuracy is that of the test.
            with trainer.precision_plugin.forward_context(), ablated(explainer.backbone.model, trial.filters):
                logits = explainer.backbone(batch["image"]).logits
            trial.accuracy.update(logits, batch["label"])

    @override
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Computes over all ranks, logs, and writes on rank zero."""
        accuracies = [float(trial.accuracy.compute()) for trial in self._trials]
        rows = [
            [trial.name, trial.draw, len(trial.filters), accuracy]
            for trial, accuracy in zip(self._trials, accuracies, strict=True)
        ]
        self._trials = []
        # Computed on all ranks together, so every rank logs the same figures.
        pl_module.log_dict(figures(rows), rank_zero_only=True)
        if trainer.is_global_zero:
            write_table(Path(trainer.default_root_dir, NAME), rows)
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger):
                    logger.log_table("ablation", columns=list(COLUMNS), data=rows, step=trainer.global_step)


def figures(rows: Sequence[Sequence[Any]]) -> Mapping[str, float]:
    """What is logged, by name."""
    named = {name: [row[3] for row in rows if row[0] == name] for name in ("original", "selected", "random")}
    means = {f"test/ablation/{name}": sum(values) / len(values) for name, values in named.items()}
    return {**means, "test/ablation/filters": float(rows[1][2])}


def write_table(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    """Writes the CSV; figures keep all that float32 holds."""
    with atomic_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([*row[:3], f"{row[3]:.9g}"] for row in rows)
