"""Base classes of explanation metrics, and the helpers that several of them use."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from vitrine.backbones.guard import eval_guard
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics.functional.checks import checked_boxes, checked_masks, checked_tensor


@dataclass(frozen=True)
class Curve:
    """A curve that a metric has beside its figures, such as the IoU over the threshold.

    Args:
        x: where it was measured, in rising order.
        y: what was measured there.
        x_label: what ``x`` counts, as an axis has it.
        y_label: what ``y`` measures.
        spread: standard deviation of ``y`` over the images, where it is a mean over them.
    """

    x: Sequence[float]
    y: Sequence[float]
    x_label: str
    y_label: str
    spread: Sequence[float] = ()


class ExplanationMetric(Metric, ABC):
    """A torchmetrics metric of explanations and the annotations of their images.

    ``compute`` returns named scalars, whose names begin with that of the metric: its single result has the metric's name
    alone, such as ``pointing_game``; other results and counts have names below it, such as ``saliency/precision``. Of the
    counts of what could not be measured, ``skipped`` counts images without the annotation, which are left out, and
    ``degenerate`` heatmaps that are constant or hold NaN or infinity. A test logs ``test/NAME``.

    ``update`` may leave in ``row_values`` what it measured of each row of its batch, so that explainers can be compared image
    by image; ``curves`` gives what belongs to the figures and is more than a number.

    Example:
        >>> class MeanScore(ExplanationMetric):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.add_sum("total")
        ...         self.add_sum("count")
        ...     def update(self, explanation, batch):
        ...         self.total += explanation.scores.sum()
        ...         self.count += explanation.scores.numel()
        ...     def compute(self):
        ...         return {"mean_score": self.total / self.count}
        >>> metric = MeanScore()
        >>> maps, classes = torch.rand(2, 3, 8, 8), torch.tensor([0, 1])
        >>> scores, labels = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), [["a", "b", "c"]] * 2
        >>> metric.update(Explanation(maps, scores, labels, classes, classes, torch.zeros(2, 10)), Batch())
        >>> metric.compute()["mean_score"].item()
        3.5
    """

    full_state_update = False
    row_values: Mapping[str, Tensor]
    """By the name of a figure, (R,) float64 values of the rows of the last batch: NaN of a row that was not measured, and of
    a degenerate map what it counts as in the figure. Their mean over all rows is the figure, or for a figure that is a mean
    over classes, the mean over classes of their means. Empty of a metric that has no value of single rows."""

    def __init__(self) -> None:
        super().__init__()
        self.row_values = {}

    @property
    def settings(self) -> Mapping[str, str]:
        """What figures depend on and their names do not tell, by the beginning of their names; for tables."""
        return {}

    @abstractmethod
    def update(self, explanation: Explanation, batch: Batch) -> None:
        """Updates the state with one batch."""

    @abstractmethod
    def compute(self) -> dict[str, Tensor]:
        """Named scalars over all batches of all ranks."""

    def curves(self) -> Mapping[str, Curve]:
        """Named curves over all batches of all ranks, from states as `compute` sees them; none by default.

        Called beside `compute`, on all ranks together, under `sync_context`.
        """
        return {}

    def add_sum(self, name: str) -> None:
        """Adds a scalar float64 state that starts at 0 and is summed over ranks."""
        self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")


class PerFeatureMetric(ExplanationMetric):
    """A metric of x-features: it compares heatmap k of all images of a class, so heatmap k must mean the same on each.

    Its state is one record of float64 numbers for each image or entry, concatenated to a flat tensor: a rank without a batch
    contributes an empty tensor and need not know the length of a record.
    """

    records: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("records", [], dist_reduce_fx="cat")

    @property
    def dtype(self) -> torch.dtype:
        """float64, the type of the records; torchmetrics makes the empty tensor of a rank without a batch from it."""
        return torch.float64

    def flat_records(self) -> Tensor:
        """All records so far, concatenated: one dimension."""
        empty = torch.zeros(0, dtype=self.dtype, device=self.device)
        return dim_zero_cat(self.records) if len(self.records) else empty


def heatmaps_by_image(explanation: Explanation) -> Iterator[tuple[int, int, Tensor, Tensor]]:
    """Index, explained class, (K, H, W) heatmaps and (K,) bool of each image; False where there is no k-th heatmap."""
    images = zip(explanation.target.tolist(), explanation.heatmaps.detach(), explanation.valid, strict=True)
    for image, (label, maps, valid) in enumerate(images):
        yield image, label, maps, valid


def annotation(batch: Batch, name: str) -> Any:
    """An entry of a batch.

    Raises:
        ValueError: where the batch has no such entry.
    """
    if name not in batch:
        raise ValueError(f"The batch has no {name!r}, which the metric compares with; its entries are {sorted(batch)}.")
    return batch[name]  # type: ignore[literal-required]


def masks_of(batch: Batch, maps: Tensor) -> Tensor:
    """The (B, H, W) masks of a batch, on the device of the (B, H, W) maps.

    Raises:
        ValueError: for masks of another number or size than the maps, and for a batch without masks.
    """
    masks = checked_tensor(annotation(batch, "mask"), "mask", "B, 1, H, W")
    if masks.shape[1] != 1:
        raise ValueError(f"mask has the shape {tuple(masks.shape)}; give (B, 1, H, W), one mask an image.")
    return checked_masks(masks[:, 0].to(maps.device), maps, "mask")


def boxes_of_classes(batch: Batch, classes: Tensor) -> list[Tensor]:
    """The boxes of each image that show its explained class; all of its boxes where the batch has no ``box_labels``.

    Args:
        batch: B images with ``boxes``.
        classes: (B,).

    Returns:
        B tensors (k, 4).

    Raises:
        ValueError: for a batch without boxes, boxes or labels of another number, and boxes that are not ordered.
    """
    boxes = checked_boxes(annotation(batch, "boxes"), len(classes))
    if "box_labels" not in batch:
        return boxes
    box_labels = batch["box_labels"]
    counts, expected = [len(labels) for labels in box_labels], [len(rows) for rows in boxes]
    if counts != expected:
        raise ValueError(f"box_labels names the classes of {counts} boxes and there are {expected}; give one a box.")
    return [rows[labels == label] for rows, labels, label in zip(boxes, box_labels, classes.tolist(), strict=True)]


class SharedClassifier:
    """A classifier that a metric uses without owning it: no submodule, shared by copies and left out of pickles.

    Args:
        classify: maps (B, 3, H, W) images to (B, C) logits; an ``nn.Module`` runs under `eval_guard`, without gradients.
        user: name of the metric that uses it.
    """

    def __init__(self, classify: Callable[[Tensor], Tensor] | None, user: str) -> None:
        self.function, self.user = classify, user

    def __call__(self, images: Tensor) -> Tensor:
        """(B, C) logits.

        Raises:
            ValueError: for a classifier that was unpickled.
        """
        if self.function is None:
            raise ValueError(
                f"A pickled {self.user} has no network any more; update a new metric, and merge the pickled one's state"
                " with merge_state."
            )
        if not isinstance(self.function, nn.Module):
            return self.function(images)
        with eval_guard(self.function), torch.no_grad():
            logits: Tensor = self.function(images)
        return logits

    def __deepcopy__(self, memo: dict[int, Any]) -> "SharedClassifier":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedClassifier, (None, self.user)


Explain = Callable[[Tensor, Tensor], Explanation]
"""Explains the (B,) classes of (B, 3, H, W) images, such as `Explainer.explain`."""


class SharedExplain:
    """Maps of an explainer that a metric uses without owning it: shared by copies, left out of pickles.

    Args:
        explain: the explainer's function.
        user: name of the metric that uses it.
    """

    def __init__(self, explain: Explain | None, user: str) -> None:
        self.explain, self.user = explain, user

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        """(B, H, W) aggregated maps.

        Raises:
            ValueError: for an explainer that was unpickled.
        """
        if self.explain is None:
            raise ValueError(
                f"A pickled {self.user} has no explainer any more; update a new metric, and merge the pickled one's state"
                " with merge_state."
            )
        return self.explain(images, targets).aggregate()[:, 0].detach()

    def __deepcopy__(self, memo: dict[int, Any]) -> "SharedExplain":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedExplain, (None, self.user)
