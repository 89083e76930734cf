"""The top k of a stream of images, in bounded memory and over all processes."""

from bisect import insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from vitrine.core.distributed import gather_over_ranks, world_size


class Keyed(Protocol):
    """An entry that belongs to an image."""

    @property
    def key(self) -> str:
        """The image's."""


E = TypeVar("E", bound=Keyed)


class FirstFew(Generic[E]):
    """The ``count`` entries of the first places, whatever order they come in; a key has one entry, its first.

    Where no two keys share a place, what is kept does not depend on how entries come in batches, or are shared out over
    processes and offered again. A place is anything that can be compared, such as a tuple.

    Args:
        count: entries to keep.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._kept: list[tuple[Any, E]] = []

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[E]:
        return (entry for _, entry in self._kept)

    def items(self) -> Iterator[tuple[Any, E]]:
        """Places and entries, in their order."""
        return iter(self._kept)

    @property
    def last(self) -> E | None:
        """The one that a further entry would push out; None while there is room."""
        return self._kept[-1][1] if len(self._kept) == self.count else None

    def wants(self, place: Any, key: str) -> bool:
        """Whether an entry with this key would be kept, were it offered."""
        if len(self._kept) == self.count and self._kept[-1][0] <= place:
            return False
        return all(other.key != key or place < taken for taken, other in self._kept)

    def offer(self, place: Any, entry: E) -> None:
        """Takes in an entry if it is among the first so far."""
        if not self.wants(place, entry.key):
            return
        self._kept = [(taken, other) for taken, other in self._kept if other.key != entry.key]
        insort(self._kept, (place, entry), key=lambda kept: kept[0])
        del self._kept[self.count :]


Location = tuple[int, int]
"""Row and column of a layer's map."""


class TopImage(NamedTuple):
    """One of the images on which a filter responds most."""

    response: float
    """The filter's response x."""
    key: str
    """The image's."""
    location: Location | None
    """Where the filter has its maximum; None for a layer without places."""
    rank: int = 0
    """The process that saw the image."""


class TopImages:
    """The ``count`` images of highest response of each of p filters, in bounded memory.

    What is kept does not depend on the order of the images, on how they come in batches, or on the number of processes:
    ties go to the smaller key, and an image that comes twice counts once. An image on which a filter does not respond
    (0, negative or NaN) is never kept, so that a filter may have fewer.

    Args:
        count: images a filter.
        filters: p.

    Raises:
        ValueError: where ``count`` is less than 1.
    """

    def __init__(self, count: int, filters: int) -> None:
        if count < 1:
            raise ValueError(f"count is {count}; keep at least 1 image a filter.")
        self.count = count
        self._kept: list[FirstFew[TopImage]] = [FirstFew(count) for _ in range(filters)]
        self._bars = np.zeros(filters)  # a response below its filter's bar is not among the highest

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, number: int) -> list[TopImage]:
        """The images of one filter, highest response first."""
        return list(self._kept[number])

    def update(self, responses: Tensor, keys: Sequence[str], locations: Tensor) -> None:
        """Takes in a batch.

        Args:
            responses: (B, p).
            keys: B names, unique in the data set.
            locations: (B, p, 2) int64 rows and columns; −1 for layers without places.
        """
        values = responses.detach().double().cpu().numpy()
        places = locations.cpu()
        rank = dist.get_rank() if world_size() > 1 else 0
        for row, number in np.argwhere((values > 0) & (values >= self._bars)).tolist():
            down, right = places[row, number].tolist()
            self._offer(number, TopImage(float(values[row, number]), keys[row], _place(down, right), rank))

    def merge(self, others: Iterable["TopImages"]) -> None:
        """Takes in what was kept of other parts of the data set."""
        for other in others:
            for number in range(len(other)):
                for image in other[number]:
                    self._offer(number, image)

    def merge_over_ranks(self) -> None:
        """Leaves on every process what one process would have kept; a collective."""
        if world_size() > 1:
            self.merge(gather_over_ranks(self))

    def of_rank(self, rank: int) -> dict[str, list[tuple[int, TopImage]]]:
        """The images that a process saw: by key, each filter that it is kept for and its entry there."""
        found = defaultdict(list)
        for number, images in enumerate(self._kept):
            for image in images:
                if image.rank == rank:
                    found[image.key].append((number, image))
        return dict(found)

    def _offer(self, number: int, image: TopImage) -> None:
        kept = self._kept[number]
        kept.offer(_order(image), image)
        if kept.last is not None:
            self._bars[number] = kept.last.response


def _order(image: TopImage) -> tuple[float, str, int]:
    return -image.response, image.key, image.rank


def _place(row: int, column: int) -> Location | None:
    return None if row < 0 else (row, column)


def no_locations(rows: int, filters: int) -> Tensor:
    """(rows, filters, 2) for layers without places."""
    return torch.full((rows, filters, 2), -1)
