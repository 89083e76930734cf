"""The top k of a stream of images, in bounded memory and over all processes."""

from bisect import insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from vitrine.core.distributed import gather_over_ranks, global_rank, world_size
from vitrine.core.options import Count, checked


class Keyed(Protocol):
    """An entry that belongs to an image."""

    @property
    def key(self) -> str:
        """Key of the image."""


E = TypeVar("E", bound=Keyed)


class TopK(Generic[E]):
    """The ``top_k`` entries that sort first, one for each key: the one of a key's lowest sort key.

    Where no two keys share a sort key, the entries do not depend on the order in which they are added, on batches, or on
    how they are distributed over processes. A sort key is anything that can be compared, such as a tuple.

    Args:
        top_k: number of entries.

    Example:
        >>> lowest = TopK(2)
        >>> for loss, key in ((0.3, "b"), (0.1, "a"), (0.2, "b")):
        ...     lowest.add(loss, TopImage(loss, key, None))
        >>> [(entry.key, entry.response) for entry in lowest]
        [('a', 0.1), ('b', 0.2)]
    """

    def __init__(self, top_k: int) -> None:
        self.top_k = top_k
        self._sorted: list[tuple[Any, E]] = []

    def __len__(self) -> int:
        return len(self._sorted)

    def __iter__(self) -> Iterator[E]:
        return (entry for _, entry in self._sorted)

    def items(self) -> Iterator[tuple[Any, E]]:
        """Sort keys and entries, in their order."""
        return iter(self._sorted)

    @property
    def last(self) -> E | None:
        """The entry that a better one would replace; None while there are fewer than ``top_k``."""
        return self._sorted[-1][1] if len(self._sorted) == self.top_k else None

    def accepts(self, sort_key: Any, key: str) -> bool:
        """Whether `add` would keep an entry with this sort key and key."""
        if len(self._sorted) == self.top_k and self._sorted[-1][0] <= sort_key:
            return False
        return all(other.key != key or sort_key < other_sort_key for other_sort_key, other in self._sorted)

    def add(self, sort_key: Any, entry: E) -> None:
        """Adds an entry if it is among the ``top_k`` so far."""
        if not self.accepts(sort_key, entry.key):
            return
        self._sorted = [(other_sort_key, other) for other_sort_key, other in self._sorted if other.key != entry.key]
        insort(self._sorted, (sort_key, entry), key=lambda pair: pair[0])
        del self._sorted[self.top_k :]


Location = tuple[int, int]
"""Row and column of a layer's map."""


class TopImage(NamedTuple):
    """One of the images to which a filter responds most."""

    response: float
    """The filter's response x."""
    key: str
    """Key of the image."""
    location: Location | None
    """Location of the filter's maximum; None for a layer without spatial locations."""
    rank: int = 0
    """Rank of the process that read the image."""


class TopImages:
    """The ``top_k`` images of highest response of each of p filters, in bounded memory.

    The result does not depend on the order of the images, on batches, or on the number of processes: ties go to the
    smaller key, and an image that is added twice counts once. Images to which a filter does not respond (0, negative or
    NaN) are left out, so that a filter may have fewer.

    Args:
        top_k: number of images of each filter.
        num_filters: p.

    Raises:
        ValueError: for a ``top_k`` below 1.

    Example:
        >>> top = TopImages(top_k=2, num_filters=1)
        >>> top.update(torch.tensor([[0.5], [0.0], [0.7]]), ["a", "b", "c"], no_locations(3, 1))
        >>> [image.key for image in top[0]]
        ['c', 'a']
    """

    @checked
    def __init__(self, top_k: Count, num_filters: int) -> None:
        self.top_k = top_k
        self._of_filter: list[TopK[TopImage]] = [TopK(top_k) for _ in range(num_filters)]
        self._thresholds = np.zeros(num_filters)  # a lower response of the filter is not among the highest

    def __len__(self) -> int:
        return len(self._of_filter)

    def __iter__(self) -> Iterator[list[TopImage]]:
        return (list(images) for images in self._of_filter)

    def __getitem__(self, filter_index: int) -> list[TopImage]:
        """The images of one filter, by falling response."""
        return list(self._of_filter[filter_index])

    def update(self, responses: Tensor, keys: Sequence[str], locations: Tensor) -> None:
        """Adds the images of a batch.

        Args:
            responses: (B, p).
            keys: B keys, unique in the data set.
            locations: (B, p, 2) int64 rows and columns; −1 for layers without spatial locations.
        """
        values = responses.detach().double().cpu().numpy()
        locations = locations.cpu()
        rank = global_rank()
        for image, filter_index in np.argwhere((values > 0) & (values >= self._thresholds)).tolist():
            row, column = locations[image, filter_index].tolist()
            response = float(values[image, filter_index])
            self._add(filter_index, TopImage(response, keys[image], _location(row, column), rank))

    def merge(self, others: Iterable["TopImages"]) -> None:
        """Adds the images of other parts of the data set."""
        for other in others:
            for filter_index, images in enumerate(other):
                for image in images:
                    self._add(filter_index, image)

    def merge_over_ranks(self) -> None:
        """Merges the images of all processes; afterwards all have the same. A collective."""
        if world_size() > 1:
            self.merge(gather_over_ranks(self))

    def of_rank(self, rank: int) -> dict[str, list[tuple[int, TopImage]]]:
        """The images that one process read: by key, the index of each filter with this image and its entry there."""
        of_key = defaultdict(list)
        for filter_index, images in enumerate(self._of_filter):
            for image in images:
                if image.rank == rank:
                    of_key[image.key].append((filter_index, image))
        return dict(of_key)

    def _add(self, filter_index: int, image: TopImage) -> None:
        images = self._of_filter[filter_index]
        images.add((-image.response, image.key, image.rank), image)
        if images.last is not None:
            self._thresholds[filter_index] = images.last.response


def _location(row: int, column: int) -> Location | None:
    return None if row < 0 else (row, column)


def no_locations(batch_size: int, num_filters: int) -> Tensor:
    """(batch_size, num_filters, 2) int64 of −1: the locations of layers without spatial locations."""
    return torch.full((batch_size, num_filters, 2), -1)
