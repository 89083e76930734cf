"""A cache of shards: one download for many processes, checked, bounded, and whole after kills."""

import hashlib
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.helpers.flaky_server import Served
from vitrine.data.streams.fetching import FetchError
from vitrine.data.streams.shard_cache import ShardCache, ShardCacheOptions


def cache(folder: Path, size: float = 1e-3, tries: int = 2) -> ShardCache:
    return ShardCache(ShardCacheOptions(folder / "cache", size, tries))


def digest(number: int) -> str:
    return hashlib.sha256(bytes([number]) * 1000).hexdigest()


def copies(folder: Path) -> set[str]:
    return {path.name.partition("-")[2] for path in (folder / "cache").glob("[!.]*.tar")}


def test_a_shard_is_fetched_once(tmp_path: Path, server: Served) -> None:
    for _ in range(2):
        path = cache(tmp_path).fetch(f"{server.url}/1.tar", digest(1))
        assert path.read_bytes() == b"\1" * 1000
    assert server.requests["1.tar"] == 1
    assert list((tmp_path / "cache").iterdir()) == [path]


def test_other_bytes_are_fetched_again_and_then_refused(tmp_path: Path, server: Served) -> None:
    server.change = lambda _, number, data: data if number % 3 == 0 else data[::-1][:-1] + b"x"
    with pytest.raises(FetchError, match=r"1\.tar could not be read in 2 tries \(its sha256 is not the one"):
        cache(tmp_path).fetch(f"{server.url}/1.tar", digest(1))
    assert copies(tmp_path) == set()
    assert cache(tmp_path).fetch(f"{server.url}/1.tar", digest(1)).is_file()
    assert server.requests["1.tar"] == 3


def test_other_sums_are_other_copies(tmp_path: Path, server: Served) -> None:
    """A shard that is replaced on its server, with its index, is fetched anew."""
    of_both = cache(tmp_path)
    first = of_both.fetch(f"{server.url}/1.tar", digest(1))
    (server.folder / "1.tar").write_bytes(b"\2" * 1000)
    assert of_both.fetch(f"{server.url}/1.tar", digest(2)) != first


def test_those_not_read_for_the_longest_time_make_room(tmp_path: Path, server: Served) -> None:
    small = cache(tmp_path, size=2.5e-6)
    for number in (0, 1):
        os.close(small.open(f"{server.url}/{number}.tar", digest(number)))
        time.sleep(0.02)
    os.close(small.open(f"{server.url}/0.tar", digest(0)))
    small.fetch(f"{server.url}/2.tar", digest(2))
    assert copies(tmp_path) == {"0.tar", "2.tar"}


def test_those_in_use_are_kept(tmp_path: Path, server: Served) -> None:
    small = cache(tmp_path, size=1e-6)
    descriptor = small.open(f"{server.url}/0.tar", digest(0))
    small.fetch(f"{server.url}/1.tar", digest(1))
    assert copies(tmp_path) == {"0.tar", "1.tar"}
    os.close(descriptor)
    small.fetch(f"{server.url}/2.tar", digest(2))
    assert copies(tmp_path) == {"2.tar"}


def fetch_one(folder: Path, url: str) -> None:
    cache(folder).fetch(url, digest(1))


def test_processes_share_a_download(tmp_path: Path, server: Served) -> None:
    def slowly(name: str, number: int, data: bytes) -> bytes:
        time.sleep(0.5)
        return data

    server.change = slowly
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=fetch_one, args=(tmp_path, f"{server.url}/1.tar")) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert server.requests["1.tar"] == 1


def test_after_a_kill_within_a_download_nothing_is_left_of_it(tmp_path: Path, server: Served) -> None:
    started, go_on = threading.Event(), threading.Event()

    def stall(name: str, number: int, data: bytes) -> bytes:
        if number == 1:
            started.set()
            go_on.wait(20)
        return data

    server.change = stall
    process = multiprocessing.get_context("fork").Process(target=fetch_one, args=(tmp_path, f"{server.url}/1.tar"))
    process.start()
    assert started.wait(20)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    go_on.set()
    assert copies(tmp_path) == set()
    assert list((tmp_path / "cache").glob("*.lock"))
    path = cache(tmp_path).fetch(f"{server.url}/1.tar", digest(1))
    assert list((tmp_path / "cache").iterdir()) == [path]
