"""Candidates: the first few entries of each group over a stream of batches, and over all ranks."""

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from vitrine.core.distributed import gather_over_ranks
from vitrine.core.top_k import Keyed, TopK

G = TypeVar("G", bound=Hashable)
E = TypeVar("E", bound=Keyed)

Shares = Mapping[G, Sequence[tuple[Any, E]]]
"""By group, places and entries of one rank."""


class _Standing(NamedTuple):
    """An entry as the ranks tell each other of it, without what it holds."""

    place: Any
    key: str


class Candidates(Generic[G, E]):
    """The ``count`` entries of the first places of each group, in bounded memory.

    What is chosen does not depend on the order of the entries, on how they come in batches, or on the number of ranks, as
    long as no two keys of a group share a place; of entries with the same key, the one of the first place is taken.

    Args:
        count: entries of a group.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._kept: dict[G, TopK[E]] = {}

    def clear(self) -> None:
        """Forgets all entries."""
        self._kept.clear()

    def wants(self, group: G, place: Any, key: str) -> bool:
        """Whether an entry would be among the first of its group so far, were it offered."""
        return group not in self._kept or self._kept[group].accepts(place, key)

    def offer(self, group: G, place: Any, entry: E) -> None:
        """Takes in an entry if it is among the first of its group so far."""
        self._kept.setdefault(group, TopK(self.count)).add(place, entry)

    def share(self) -> Shares[G, E]:
        """This rank's entries that are among the first over all ranks; a collective.

        Only places and keys go round: what an entry holds, such as a picture, is left to be gathered once it is chosen.
        """
        own = {
            group: [_Standing(place, entry.key) for place, entry in few.items()] for group, few in self._kept.items()
        }
        first: dict[G, TopK[_Standing]] = defaultdict(lambda: TopK(self.count))
        for share in gather_over_ranks(own):
            for group, standings in share.items():
                for standing in standings:
                    first[group].add(standing.place, standing)
        places = {group: [place for place, _ in few.items()] for group, few in first.items()}
        return {
            group: [(place, entry) for place, entry in few.items() if place in places[group]]
            for group, few in self._kept.items()
        }

    def joined(self, shares: Iterable[Shares[G, E]]) -> dict[G, list[E]]:
        """The entries of each group in the order of their places, from what `share` gave on every rank."""
        first: dict[G, TopK[E]] = defaultdict(lambda: TopK(self.count))
        for share in shares:
            for group, entries in share.items():
                for place, entry in entries:
                    first[group].add(place, entry)
        return {group: list(few) for group, few in first.items()}


def place_of(key: str) -> str:
    """A place by which entries are chosen and ordered: a hash of the key, which favours no class and no rank."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
