"""Writes the HTML gallery of a test run."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
from rich.console import Console
from torch import Tensor
from typing_extensions import override

from callbacks.run_access import class_names, datamodule_of, explanation_of, plain_images
from vitrine.core.batch import Batch
from vitrine.core.distributed import gather_on_zero, gather_over_ranks
from vitrine.core.explanation import Explanation
from vitrine.core.top_k import TopK
from vitrine.explainers.srae.x_features import LOGIT_MAP, logit_maps
from vitrine.visualization.report.gallery import GalleryEntry, write_gallery

LogitMap = tuple[str, Tensor]
"""Label and (H, W) map."""

UNLABELLED = -1
"""Stands for a class where an image has none."""


class ReportGallery(pl.Callback):
    """Collects a few images of each class while testing and writes ``report/index.html`` in the run's folder.

    These are the first images of each class in the order of their keys, so that the gallery is the same whatever the
    number of ranks and workers. A multi-label image counts for each of its classes.

    Args:
        images_per_class: At most so many images of each class.
        logit_map: Shows excitation backprop of the explained logit itself beside the heatmaps (Qi et al. 2018, figure 4).

    Raises:
        ValueError: If ``images_per_class`` is below 1.
    """

    def __init__(self, images_per_class: int = 4, *, logit_map: bool = False) -> None:
        super().__init__()
        if images_per_class < 1:
            raise ValueError(f"ReportGallery: images_per_class must be at least 1, got {images_per_class}.")
        self.images_per_class, self.logit_map = images_per_class, logit_map
        self._kept: dict[int, TopK[GalleryEntry]] = defaultdict(self._few)
        self._page: Path | None = None

    @override
    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forgets an earlier run."""
        datamodule_of(trainer, self)
        self._kept.clear()
        self._page = None

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
        """Keeps what belongs in the gallery so far."""
        explanation = explanation_of(outputs, self, "test_step")
        labels = true_classes(batch["label"])
        groups = [of_image or (UNLABELLED,) for of_image in labels]
        wanted = [
            row
            for row, key in enumerate(batch["key"])
            if any(self._kept[label].accepts(key, key) for label in groups[row])
        ]
        maps = self._logit_maps(pl_module, batch, explanation, wanted)
        for row, image, map_ in zip(wanted, plain_images(trainer, batch, self, wanted), maps, strict=True):
            shown = compact(explanation[row : row + 1])
            entry = GalleryEntry(batch["key"][row], image, labels[row], shown, map_)
            for label in groups[row]:
                self._kept[label].add(entry.key, entry)

    @override
    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Gathers over all ranks and writes on rank zero."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        entries = gather_on_zero(self._winners())
        self._kept.clear()
        if trainer.is_global_zero:
            unique = {entry.key: entry for share in entries for entry in share}
            self._page = write_gallery(
                Path(trainer.default_root_dir) / "report",
                list(unique.values()),
                title=f"{type(pl_module.explainer).__name__} on {type(datamodule_of(trainer, self)).__name__}",
                metrics=metrics,
                class_names=class_names(trainer, pl_module, self),
                settings=self._settings(trainer, pl_module),
            )

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Tells where the report is, after Lightning has printed its table of metrics."""
        if stage == "test" and self._page is not None:
            Console(soft_wrap=True, highlight=False, markup=False).print(f"Report: {self._page}")

    def _few(self) -> TopK[GalleryEntry]:
        return TopK(self.images_per_class)

    def _logit_maps(
        self, pl_module: pl.LightningModule, batch: Batch, explanation: Explanation, rows: Sequence[int]
    ) -> list[LogitMap | None]:
        if not self.logit_map or not rows:
            return [None] * len(rows)
        targets = explanation.target[list(rows)]
        maps = logit_maps(cast("Any", pl_module.explainer), batch["image"][list(rows)], targets)
        return [(LOGIT_MAP, map_) for map_ in halved(maps.cpu())[:, 0]]

    def _winners(self) -> list[GalleryEntry]:
        """This rank's entries that are among the first of their class over all ranks; keys go round before pictures."""
        candidates: dict[int, set[str]] = defaultdict(set)
        for share in gather_over_ranks({label: [entry.key for entry in kept] for label, kept in self._kept.items()}):
            for label, keys in share.items():
                candidates[label].update(keys)
        first = {label: set(sorted(keys)[: self.images_per_class]) for label, keys in candidates.items()}
        own = {entry.key: entry for label, kept in self._kept.items() for entry in kept if entry.key in first[label]}
        return list(own.values())

    def _settings(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, str]:
        explainer = pl_module.explainer
        return {
            "Explainer": type(explainer).__name__,
            "Data set": type(datamodule_of(trainer, self)).__name__,
            "Classes": str(len(class_names(trainer, pl_module, self))),
            "Shown": f"the first {self.images_per_class} images of each class by name",
            "Checkpoint": str(trainer.ckpt_path or "none: as initialised"),
        }


def true_classes(labels: Tensor) -> Sequence[tuple[int, ...]]:
    """The classes of each image, from (B,) indices or (B, C) multi-hot labels."""
    if labels.ndim == 1:
        return [(int(label),) for label in labels]
    return [tuple(row.nonzero().flatten().tolist()) for row in labels.cpu() > 0]


def compact(explanation: Explanation) -> Explanation:
    """Scales each heatmap by its largest value and stores it in half precision: all that a picture needs."""
    return replace(explanation, heatmaps=halved(explanation.heatmaps))


def halved(heatmaps: Tensor) -> Tensor:
    """(B, K, H, W) heatmaps in half precision, each over its largest value, which might not survive there."""
    largest = heatmaps.float().abs().amax(dim=(2, 3), keepdim=True)
    return (heatmaps.float() / largest.where(largest > 0, 1)).half()
