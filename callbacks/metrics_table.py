"""MetricsTable: the figures that matter of a test or validation, as a table in the terminal."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from rich import box
from rich.console import Console
from rich.table import Table
from typing_extensions import override


@dataclass(frozen=True)
class Figure:
    """One figure that is shown.

    Args:
        name: what stands after ``test/`` or ``val/``; ``*`` stands for anything.
        meaning: what it measures.
        better: whether a ``higher`` or a ``lower`` value is better; empty where neither is.
        unit: of the value.
    """

    name: str
    meaning: str
    better: Literal["higher", "lower", ""]
    unit: str = ""


FIGURES: Mapping[str, Sequence[Figure]] = {
    "Classifier": (
        Figure("accuracy", "share of images, in their class", "higher"),
        Figure("mean_class_accuracy", "the same, mean over classes", "higher"),
        Figure("mean_average_precision", "mean over classes", "higher"),
    ),
    "Rebuilt logits": (
        Figure("f_reg", "mean |rebuilt − own logit|", "lower", "logits"),
        Figure("f_cls", "share of decisions kept", "higher"),
        Figure("reconstruction_auc", "ROC area of rebuilt labels", "higher"),
    ),
    "Heatmaps and objects": (
        Figure("energy_in_mask", "share on the mask", "higher"),
        Figure("energy_in_mask/area", "what a uniform map has there", ""),
        Figure("energy_in_boxes", "share in the boxes", "higher"),
        Figure("energy_in_boxes/area", "what a uniform map has there", ""),
        Figure("iou", "area under IoU by threshold", "higher", "%"),
        Figure("saliency/f", "F as a segmentation", "higher"),
        Figure("saliency/mae", "error as a segmentation", "lower"),
        Figure("localization/error", "boxes with IoU ≤ 0.5", "lower"),
        Figure("pointing_game", "share of maxima on an object", "higher"),
        Figure("locality", "entropy over parts or objects", "lower", "nats"),
    ),
    "Heatmaps of one class": (
        Figure("orthogonality/o1", "correlation, ‖P‖ − √n", "lower"),
        Figure("orthogonality/o2", "correlation, −log det P", "lower", "nats"),
    ),
    "Pixels and filters": (
        Figure("insertion_deletion/insertion_auc", "probability as pixels come", "higher"),
        Figure("insertion_deletion/deletion_auc", "probability as pixels go", "lower"),
        Figure("road/morf", "probability, most relevant removed", "lower"),
        Figure("road/lerf", "probability, least relevant removed", "higher"),
        Figure("road/gap", "what lies between the two", "higher"),
        Figure("pixel_flipping/aopc", "mean fall as regions are replaced", "higher"),
        Figure("pixel_flipping/auc", "probability as they are", "lower"),
        Figure("infidelity", "error of foretold falls, squared", "lower"),
        Figure("masked_accuracy/original", "accuracy on whole images", "higher"),
        Figure("masked_accuracy/[0-9]*", "on pixels above so many %", "higher"),
        Figure("ablation/original", "accuracy with all filters", "higher"),
        Figure("ablation/selected", "without the selected ones", "lower"),
        Figure("ablation/random", "without as many random ones", "higher"),
        Figure("sanity/*/similarity", "likeness under random weights", "lower"),
        Figure("parameter_randomization", "the same, of every image", "lower"),
    ),
    "Heatmaps alone": (
        Figure("max_sensitivity", "largest change under faint noise", "lower"),
        Figure("sparseness", "Gini index", "higher"),
        Figure("complexity", "entropy over pixels", "lower", "nats"),
    ),
    "Optimised masks": (
        Figure("inversion/steps", "mean over masks", ""),
        Figure("inversion/loss", "mean, before the last step", "lower"),
    ),
}
"""The figures that are shown, by group and in this order."""

COUNTS: Mapping[str, str] = {
    "degenerate": "constant or not finite maps",
    "skipped": "images without the annotation",
    "skipped_classes": "classes of all or no images",
    "undefined": "without a value",
    "singular": "classes of singular P",
    "inactive": "x-features that never fire",
    "blank": "images without kept pixels",
    "not_converged": "masks that did not converge",
}
"""By the last part of its name, what a count counts; shown where it is not zero."""


class MetricsTable(Callback):
    """Prints the figures of a test or a validation that matter, grouped, with what is better.

    `FIGURES` says which these are. Counts of what could not be measured are shown where they are not zero, and figures of
    metrics that it does not know are shown too; all figures are in ``metrics.json``, see `MetricsFile`.
    """

    @override
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        show(trainer, "test")

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.VALIDATING:
            show(trainer, "val")


def show(trainer: Trainer, part: str) -> None:
    """Prints the table of a part, ``test`` or ``val``, on rank zero."""
    # Asked for on all ranks: what Lightning has not computed by now is a collective.
    values = {name: float(value) for name, value in trainer.callback_metrics.items()}
    figures = {name.removeprefix(f"{part}/"): value for name, value in values.items() if name.startswith(f"{part}/")}
    if trainer.is_global_zero and figures:
        Console(highlight=False, markup=False).print(metrics_table(part, figures))


def metrics_table(part: str, figures: Mapping[str, float]) -> Table:
    """The table of figures by their names after ``part/``."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(f"{part}/", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("better", no_wrap=True)
    table.add_column("what")
    for group, rows in (*figure_rows(figures).items(), ("Counts", count_rows(figures))):
        if rows:
            table.add_row(group, style="bold")
        for row in rows:
            table.add_row(*row)
    return table


Row = tuple[str, str, str, str]
"""Name, value, what is better, and what it measures."""


def figure_rows(figures: Mapping[str, float]) -> dict[str, list[Row]]:
    """The rows of each group, and last those of metrics that `FIGURES` does not know."""
    known = {figure.name.partition("/")[0] for group in FIGURES.values() for figure in group}
    others = [Figure(name, "", "") for name in figures if name.partition("/")[0] not in known]
    return {title: list(_rows(group, figures)) for title, group in {**FIGURES, "Others": others}.items()}


def count_rows(figures: Mapping[str, float]) -> list[Row]:
    """The counts that are not zero."""
    meanings = {name: COUNTS.get(name.rpartition("/")[2], "") for name in figures if "/" in name}
    return [(f"  {name}", f"{figures[name]:g}", "", what) for name, what in meanings.items() if what and figures[name]]


def _rows(group: Iterable[Figure], figures: Mapping[str, float]) -> Iterable[Row]:
    for figure in group:
        for name, value in figures.items():
            if fnmatchcase(name, figure.name):
                yield f"  {name}", f"{_number(value)} {figure.unit}".rstrip(), figure.better, figure.meaning


def _number(value: float) -> str:
    return "no value" if math.isnan(value) else f"{value:.4g}"
