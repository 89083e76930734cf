"""Figures of tests: what each measures, whether a higher or a lower value is better, and over what it is a mean."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal


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
        Figure("localization/alpha", "on above α times the mean", ""),
        Figure("localization/best_error", "at the α best on these images", ""),
        Figure("pointing_game", "share of maxima on an object", "higher"),
        Figure("locality", "entropy over parts or objects", "lower", "nats"),
    ),
    "Heatmaps of one class": (
        Figure("orthogonality/o1", "correlation, ‖P‖ − √n", "lower"),
        Figure("orthogonality/o2", "correlation, −log det P", "lower", "nats"),
    ),
    "Pixels and filters": (
        Figure("causal_truth", "order of parts as when each is removed", "higher"),
        Figure("causal_truth/mass", "share on the parts that matter", "higher"),
        Figure("insertion_deletion/insertion_auc", "probability as pixels come", "higher"),
        Figure("insertion_deletion/deletion_auc", "probability as pixels go", "lower"),
        Figure("road/morf", "probability, most relevant removed", "lower"),
        Figure("road/lerf", "probability, least relevant removed", "higher"),
        Figure("road/gap", "what lies between the two", "higher"),
        Figure("pixel_flipping/aopc", "mean fall as regions are replaced", "higher"),
        Figure("pixel_flipping/auc", "probability as they are", "lower"),
        Figure("infidelity", "error of foretold falls, squared", "lower"),
        Figure("box_occlusion/drop", "probability lost under patches", "higher"),
        Figure("box_occlusion/random_drop", "the same, patches at random places", ""),
        Figure("box_occlusion/area", "probability under patches", "lower"),
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

HEADLINES: Sequence[str] = (
    "accuracy", "mean_average_precision", "f_cls", "f_reg", "reconstruction_auc", "energy_in_mask", "energy_in_boxes",
    "iou", "pointing_game", "localization/error", "saliency/f", "locality", "orthogonality/o1", "causal_truth",
    "insertion_deletion/insertion_auc", "insertion_deletion/deletion_auc", "road/gap", "infidelity",
    "masked_accuracy/original", "masked_accuracy/10", "ablation/selected", "box_occlusion/drop",
    "parameter_randomization", "sparseness",
)  # fmt: skip
"""The figures that a page shows first where it cannot show all, in this order."""

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

ARROWS: Mapping[str, str] = {"higher": "↑", "lower": "↓", "": ""}
"""What stands beside a figure's name for what is better."""

CLASS_MEANS: Sequence[str] = ("pointing_game*", "mean_class_accuracy")
"""Figures that are means over classes of the means over their rows; all others are means over rows."""


def figure_of(name: str) -> Figure | None:
    """What is known of a figure, by its name after ``test/``.

    Example:
        >>> figure_of("masked_accuracy/5").better
        'higher'
    """
    return next((figure for group in FIGURES.values() for figure in group if fnmatchcase(name, figure.name)), None)


def better_of(name: str) -> Literal["higher", "lower", ""]:
    """Whether a ``higher`` or a ``lower`` value of a figure is better; empty where that is not known."""
    figure = figure_of(name)
    return "" if figure is None else figure.better


def is_class_mean(name: str) -> bool:
    """Whether a figure is a mean over classes."""
    return any(fnmatchcase(name, pattern) for pattern in CLASS_MEANS)


def grouped_figures(names: Iterable[str]) -> dict[str, list[str]]:
    """The names that tables show, by title of their group, in the order of `FIGURES`.

    After those of `FIGURES` come ``Others``, of metrics that it does not know, and ``Counts``, see `COUNTS`. A name in none
    of these, such as the further figures of a known metric, is left out; so is a group without a name.
    """
    given = list(dict.fromkeys(names))
    groups = {
        title: list(dict.fromkeys(name for figure in group for name in given if fnmatchcase(name, figure.name)))
        for title, group in FIGURES.items()
    }
    counts = [name for name in given if "/" in name and name.rpartition("/")[2] in COUNTS]
    known = {figure.name.partition("/")[0] for group in FIGURES.values() for figure in group}
    others = [name for name in given if name.partition("/")[0] not in known and name not in counts]
    return {title: group for title, group in {**groups, "Others": others, "Counts": counts}.items() if group}


def headlines(names: Iterable[str], most: int) -> list[str]:
    """The names that a page shows first, at most so many: those of `HEADLINES`, or else what `grouped_figures` gives.

    Example:
        >>> headlines(["sparseness", "complexity", "accuracy"], 2)
        ['accuracy', 'sparseness']
    """
    given = list(dict.fromkeys(names))
    groups = grouped_figures(given)
    shown = [name for title, group in groups.items() if title != "Counts" for name in group]
    return list(dict.fromkeys(name for name in [*HEADLINES, *shown] if name in given))[:most]
