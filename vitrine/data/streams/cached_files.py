"""Remote shards of a split as local files, and a thread that fetches those that are needed next."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from vitrine.data.shards.tar_samples import ShardError
from vitrine.data.streams.shard_cache import ShardCache

AHEAD = 16
"""Shards that are fetched before anybody needs them."""


@dataclass(frozen=True)
class CachedFiles:
    """The shards of a split at URLs.

    Args:
        urls: of the shards.
        sums: their sha256, None for those that nobody knows.
        cache: of their copies.
    """

    urls: Sequence[str]
    sums: Sequence[str | None]
    cache: ShardCache

    def open(self, shard: int) -> int:
        """A file descriptor of a shard's copy."""
        return self.cache.open(self.urls[shard], self.sums[shard])

    def name(self, shard: int) -> str:
        """Its URL."""
        return self.urls[shard]

    def fetch(self, shard: int) -> None:
        """Makes a copy unless there is one; raises what `ShardCache.fetch` does."""
        self.cache.fetch(self.urls[shard], self.sums[shard])


@contextmanager
def prefetched(fetch: Callable[[int], object], needed: Sequence[Sequence[int]]) -> Iterator[Callable[[int], None]]:
    """Fetches shards in a thread, in the order in which they are needed; errors are left to whoever reads.

    Args:
        fetch: makes the copy of a shard.
        needed: the shards of each step.

    Yields:
        To be called with the number of each step that is reached: no more than ``AHEAD`` further shards are fetched then.
    """
    order = list(dict.fromkeys(shard for step in needed for shard in step))
    places = {shard: place for place, shard in enumerate(order)}
    condition, state = threading.Condition(), _State()

    def run() -> None:
        for place, shard in enumerate(order):
            with condition:
                condition.wait_for(lambda place=place: state.ended or place <= state.reached + AHEAD)  # type: ignore[misc]
                if state.ended:
                    return
            with suppress(ShardError, OSError):
                fetch(shard)

    def reach(step: int) -> None:
        with condition:
            state.reached = max([state.reached, *(places[shard] for shard in needed[step])])
            condition.notify_all()

    thread = threading.Thread(target=run, name="shard prefetch", daemon=True)
    thread.start()
    try:
        yield reach
    finally:
        with condition:
            state.ended = True
            condition.notify_all()


@dataclass
class _State:
    reached: int = 0
    """The furthest place in the order that somebody has needed."""
    ended: bool = False
