"""Remote shards as local files, fetched ahead of whoever reads them."""

import os
import pickle
import time
from pathlib import Path

import pytest

from tests.helpers.flaky_server import Served
from vitrine.data.shards.tar_samples import ShardError
from vitrine.data.streams import cached_files
from vitrine.data.streams.cached_files import CachedFiles, prefetched
from vitrine.data.streams.shard_cache import ShardCache, ShardCacheOptions


def test_shards_at_urls(tmp_path: Path, server: Served) -> None:
    urls = [f"{server.url}/{number}.tar" for number in range(3)]
    files = pickle.loads(pickle.dumps(CachedFiles(urls, [None] * 3, ShardCache(ShardCacheOptions(tmp_path / "cache")))))
    descriptor = files.open(2)
    assert os.pread(descriptor, 3, 997) == b"\2\2\2"
    os.close(descriptor)
    files.fetch(2)
    assert files.name(1) == urls[1]
    assert server.requests == {"2.tar": 1}


def wait_for(fetched: list[int], count: int) -> list[int]:
    deadline = time.monotonic() + 10
    while len(fetched) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    return list(fetched)


def test_no_more_than_some_shards_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached_files, "AHEAD", 2)
    fetched: list[int] = []
    with prefetched(fetched.append, [[5, 1], [1], [4], [3, 5], [2], [0]]) as reach:
        assert wait_for(fetched, 3) == [5, 1, 4]
        reach(1)
        assert wait_for(fetched, 4) == [5, 1, 4, 3]
        reach(0)  # steps that are reached again, or late, change nothing
        assert wait_for(fetched, 4) == [5, 1, 4, 3]
        reach(3)
        assert wait_for(fetched, 6) == [5, 1, 4, 3, 2, 0]


def test_errors_are_left_to_whoever_reads() -> None:
    fetched: list[int] = []

    def fetch(shard: int) -> None:
        fetched.append(shard)
        if shard == 0:
            raise ShardError("gone")

    with prefetched(fetch, [[0], [1]]):
        assert wait_for(fetched, 2) == [0, 1]


def test_nothing_is_fetched_after_the_end() -> None:
    fetched: list[int] = []
    with prefetched(fetched.append, [[shard] for shard in range(100)]):
        wait_for(fetched, 17)
    time.sleep(0.1)
    assert fetched == list(range(17))
