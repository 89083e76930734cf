"""Class labels: batches and datamodules whose labels are translated into a network's class indices."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vitrine.core.batch import Batch
from vitrine.data.class_matching import ClassMatch

BOX_LABELS = ("box_labels", "source_box_labels")
"""Entries of a batch with the classes of boxes."""


class TranslatedBatch(dict[str, Any]):
    """A batch whose labels are the network's, so that nobody translates them twice."""


@dataclass(frozen=True)
class LabelTranslation:
    """Labels of a data set as class indices of a network.

    Args:
        match: the logit of each class of the data set.
        count: C, number of logits.
    """

    match: ClassMatch
    count: int

    def batch(self, batch: Any) -> Any:
        """The batch with labels, also those of boxes, of the network; anything but a batch with labels as it is."""
        if isinstance(batch, TranslatedBatch) or not isinstance(batch, dict) or "label" not in batch:
            return batch
        translated = TranslatedBatch(batch)
        translated["label"] = self.labels(batch["label"])
        for name in BOX_LABELS:
            if self.match.ignored:
                translated.pop(name, None)
            elif name in batch:
                translated[name] = [self._indices(labels) for labels in batch[name]]
        return translated

    def labels(self, labels: Tensor) -> Tensor:
        """(B,) or multi-hot (B, C) labels of the network, from (B,) or (B, D) of the data set."""
        if self.match.ignored:
            return labels.new_zeros(len(labels), 0)
        if labels.ndim == 1:
            return self._indices(labels)
        spread = labels.new_zeros(len(labels), self.count)
        spread[:, list(self.match.indices)] = labels
        return spread

    def _indices(self, labels: Tensor) -> Tensor:
        return torch.tensor(self.match.indices, dtype=torch.int64, device=labels.device)[labels]

    def counts(self, counts: Sequence[int]) -> list[int]:
        """(C,) counts of the network's classes, from (D,) of the data set's; 0 for those that it lacks."""
        spread = [0] * self.count
        for index, count in zip(self.match.indices, counts, strict=False):
            spread[index] = count
        return spread

    def own_labels(self, classes: Sequence[int]) -> list[int]:
        """The data set's labels of classes of the network that it has."""
        place = {index: label for label, index in enumerate(self.match.indices)}
        return [place[index] for index in classes if index in place]


class TranslatedData:
    """A datamodule, with classes and labels of the network; all else is its own.

    Args:
        data: the datamodule.
        translation: of its labels.
    """

    def __init__(self, data: Any, translation: LabelTranslation) -> None:
        self._data, self._translation = data, translation

    def __getattr__(self, name: str) -> Any:
        return getattr(self._data, name)

    @property
    def classes(self) -> list[str]:
        """Names of the network's classes; none where labels are left out."""
        match = self._translation.match
        return [] if match.ignored else list(match.names)

    @property
    def multi_label(self) -> bool:
        """Whether labels are multi-hot, as those are that are left out."""
        return bool(self._data.multi_label) or self._translation.match.ignored

    @property
    def class_counts(self) -> list[int]:
        """Training images of each class of the network."""
        return self._translation.counts(self._data.class_counts)

    def panel(self, count: int) -> Batch:
        """As the datamodule's."""
        batch: Batch = self._translation.batch(self._data.panel(count))
        return batch

    def every_image(self, split: str) -> Iterable[Batch]:
        """As the datamodule's."""
        return TranslatedBatches(self._data.every_image(split), self._translation)

    def every_sample(self, split: str) -> Iterable[Batch]:
        """As the datamodule's."""
        return TranslatedBatches(self._data.every_sample(split), self._translation)


@dataclass(frozen=True)
class TranslatedBatches:
    """Batches with labels of the network, each time that they are gone through."""

    batches: Iterable[Batch]
    translation: LabelTranslation

    def __iter__(self) -> Iterator[Batch]:
        return (self.translation.batch(batch) for batch in self.batches)
