"""ReportGallery: writes the HTML gallery of a test run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, NamedTuple

from torch import Tensor
from typing_extensions import override

from callbacks.candidates import Candidates, Shares
from callbacks.evaluation import EvaluationCallback
from callbacks.report_settings import name_of_data, report_settings
from callbacks.run_access import Run
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.core.options import Count, checked
from vitrine.explainers.srae.x_features import LOGIT_MAP, logit_maps
from vitrine.visualization.report import GalleryEntry, write_gallery
from vitrine.visualization.report.gallery import GALLERY

FOLDER = "report"
LogitMap = tuple[str, Tensor]
"""Label and (H, W) map."""

UNLABELLED = -1
"""Stands for a class where an image has none."""


class ReportShare(NamedTuple):
    """What rank zero needs of a rank."""

    entries: Shares[int, GalleryEntry]
    right: int
    known: int
    """Images whose classes are known."""


class ReportGallery(EvaluationCallback[ReportShare]):
    """Collects a few images of each class while testing and writes ``report/index.html`` in the run's folder.

    These are the first images of each class in the order of their keys, so that the gallery is the same whatever the
    number of ranks and workers. A multi-label image counts for each of its classes.
    Other files in an earlier ``report/`` are kept.

    Args:
        images_per_class: At most so many images of each class.
        logit_map: Shows excitation backprop of the explained logit itself beside the heatmaps (Qi et al. 2018, figure 4).

    Raises:
        ValueError: If ``images_per_class`` is below 1; before the first batch, without a datamodule.
    """

    title: ClassVar[str] = "Report"
    replaces = (FOLDER, GALLERY)

    @checked
    def __init__(self, images_per_class: Count = 4, *, logit_map: bool = False) -> None:
        super().__init__()
        self.images_per_class, self.logit_map = images_per_class, logit_map
        self._entries: Candidates[int, GalleryEntry] = Candidates(images_per_class)
        self._metrics: Mapping[str, float] = {}
        self._right: dict[str, bool] = {}
        """By key, whether the prediction of an image of known classes is one of them."""

    @override
    def begin(self, run: Run) -> None:
        _ = run.datamodule
        self._entries.clear()
        self._right = {}

    @override
    def take(self, run: Run, batch: Batch, outputs: object) -> None:
        explanation = run.explanation(outputs)
        labels = true_classes(batch["label"])
        groups = [of_image or (UNLABELLED,) for of_image in labels]
        predictions = zip(batch["key"], labels, explanation.prediction.tolist(), strict=True)
        self._right |= {key: predicted in true for key, true, predicted in predictions if true}
        rows = [
            row
            for row, key in enumerate(batch["key"])
            if any(self._entries.wants(label, key, key) for label in groups[row])
        ]
        maps = self._logit_maps(run, batch, explanation, rows)
        for row, image, map_ in zip(rows, run.plain_images(batch, rows), maps, strict=True):
            key, of_image = batch["key"][row], compact(explanation[row : row + 1])
            measured = measured_of(run, key, int(of_image.target[0]))
            entry = GalleryEntry(key, image, labels[row], of_image, map_, metrics=measured)
            for label in groups[row]:
                self._entries.offer(label, entry.key, entry)

    def _logit_maps(
        self, run: Run, batch: Batch, explanation: Explanation, rows: Sequence[int]
    ) -> Sequence[LogitMap | None]:
        if not self.logit_map or not rows:
            return [None] * len(rows)
        maps = logit_maps(run.backbone_explainer(), batch["image"][list(rows)], explanation.target[list(rows)])
        return [(LOGIT_MAP, map_) for map_ in halved(maps.cpu())[:, 0]]

    @override
    def share(self, run: Run) -> ReportShare:
        self._metrics = run.logged()
        share = ReportShare(self._entries.share(), sum(self._right.values()), len(self._right))
        self._right = {}
        self._entries.clear()
        return share

    @override
    def write(self, run: Run, shares: Sequence[ReportShare]) -> Path:
        groups = self._entries.joined([share.entries for share in shares]).values()
        unique = {entry.key: entry for entries in groups for entry in entries}
        ordered = sorted(unique.values(), key=lambda entry: (not entry.labels, entry.labels[:1], entry.key))
        shown = f"the first {self.images_per_class} images of each class by name"
        return write_gallery(
            run.folder / FOLDER,
            ordered,
            title=f"{run.name or type(run.explainer).__name__.removesuffix('Explainer')} on {name_of_data(run)}",
            metrics=self._metrics,
            class_names=run.class_names,
            settings=report_settings(run, _accuracy(shares), shown),
            texts=run.heatmap_texts,
        )


def _accuracy(shares: Sequence[ReportShare]) -> str:
    right, known = sum(share.right for share in shares), sum(share.known for share in shares)
    return f"{100 * right / known:.1f} % of {known} tested images" if known else ""


def measured_of(run: Run, key: str, target: int) -> dict[str, float]:
    """What the module's metrics have measured of an image of the last batch, by figure; nothing where it has none."""
    measured = getattr(run.module, "measured", {}).get(run.name)
    if measured is None:
        return {}
    places = [
        place for place, pair in enumerate(zip(measured.keys, measured.targets, strict=True)) if pair == (key, target)
    ]
    values = {name: float(of_rows[places[-1]]) for name, of_rows in measured.values.items()} if places else {}
    return {name: value for name, value in values.items() if math.isfinite(value)}


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
