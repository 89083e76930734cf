"""The images on which filters respond most, kept while a data set streams by."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from vitrine.distributed import gather_over_ranks, world_size
from vitrine.interpretation.first_few import FirstFew

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
