"""The first few of all that streams by, in bounded memory."""

from bisect import insort
from collections.abc import Iterator
from typing import Any, Generic, Protocol, TypeVar


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
