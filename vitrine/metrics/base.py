"""What the metrics of explanations share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from vitrine.backbones.guard import eval_guard
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation


class ExplanationMetric(Metric, ABC):
    """A torchmetrics metric that reads explanations and the annotation of their images.

    ``compute`` gives a dict of named scalars, whose names begin with that of the metric: its one figure has the metric's
    name alone, such as ``pointing_game``; all else stands below it, such as ``saliency/precision`` of several figures, or
    the counts of what could not be measured. Of these, ``skipped`` counts images without the annotation, which are left
    out, and ``degenerate`` heatmaps that are constant or have NaN or infinity in them. A test logs ``test/NAME``.
    """

    full_state_update = False

    @abstractmethod
    def update(self, explanation: Explanation, batch: Batch) -> None:
        """Takes in one batch."""

    @abstractmethod
    def compute(self) -> dict[str, Tensor]:
        """Named figures over everything that was taken in, on all ranks."""

    def add_sum(self, name: str) -> None:
        """Adds a scalar state that starts at 0 and is summed over ranks."""
        self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")


class RowMetric(ExplanationMetric):
    """A metric over rows of float64, which are kept end to end in one flat state, about heatmap k of all images of a class.

    A rank without a batch brings a flat tensor without elements, so that ranks need not know how long a row is.
    """

    rows: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("rows", [], dist_reduce_fx="cat")

    @property
    def dtype(self) -> torch.dtype:
        """That of the rows: torchmetrics takes it for the empty tensor of a rank without a batch."""
        return torch.float64

    def flat_rows(self) -> Tensor:
        """All rows so far, end to end."""
        empty = torch.zeros(0, dtype=self.dtype, device=self.device)
        return dim_zero_cat(self.rows) if len(self.rows) else empty


def present_heatmaps(explanation: Explanation) -> Iterator[tuple[int, int, Tensor, Tensor]]:
    """Row, explained class, (K, H, W) heatmaps and (K,) bool of each image; False where there is no k-th heatmap."""
    images = zip(explanation.target.tolist(), explanation.heatmaps.detach(), explanation.valid, strict=True)
    for row, (label, maps, valid) in enumerate(images):
        yield row, label, maps, valid


def boxes_of_classes(batch: Batch, classes: Tensor) -> list[Tensor]:
    """The boxes of each image that show its explained class; all of them where the batch has no ``box_labels``.

    Args:
        batch: of B images, with ``boxes``.
        classes: (B,).

    Returns:
        B tensors (k, 4).
    """
    if "box_labels" not in batch:
        return list(batch["boxes"])
    labelled = zip(batch["boxes"], batch["box_labels"], classes.tolist(), strict=True)
    return [boxes[labels == label] for boxes, labels, label in labelled]


class Borrowed:
    """A classifier that belongs to somebody else: copies share it, pickles leave it behind, and no module registers it.

    Args:
        classify: takes (B, 3, H, W) images to (B, C) logits; an ``nn.Module`` is put behind glass.
        borrower: name of the metric that uses it.
    """

    def __init__(self, classify: Callable[[Tensor], Tensor] | None, borrower: str) -> None:
        self.function, self.borrower = classify, borrower

    def __call__(self, images: Tensor) -> Tensor:
        """(B, C) logits.

        Raises:
            ValueError: where it was left behind.
        """
        if self.function is None:
            raise ValueError(
                f"A pickled {self.borrower} has left its network behind; take in batches with a new one, and merge_state."
            )
        if not isinstance(self.function, nn.Module):
            return self.function(images)
        with eval_guard(self.function), torch.no_grad():
            logits: Tensor = self.function(images)
        return logits

    def __deepcopy__(self, memo: dict[int, Any]) -> "Borrowed":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Borrowed, (None, self.borrower)
