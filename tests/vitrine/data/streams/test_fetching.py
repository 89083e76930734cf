"""Fetching: what is tried again, what is not, and what is said at the end."""

import sys
from pathlib import Path

import pytest

from tests.helpers.flaky_server import Served
from vitrine.data.streams import fetching
from vitrine.data.streams.fetching import FetchError, MissingError, TransientError, fetch_bytes, retried


def test_bytes_over_http(server: Served) -> None:
    assert fetch_bytes(f"{server.url}/2.tar", tries=1) == b"\2" * 1000


@pytest.mark.parametrize("status", [500, 503, 408, 429])
def test_errors_that_pass_are_tried_again(server: Served, status: int) -> None:
    server.status = lambda _, number: status if number < 3 else 200
    assert len(fetch_bytes(f"{server.url}/1.tar", tries=3)) == 1000
    assert server.requests["1.tar"] == 3
    server.requests.clear()
    with pytest.raises(FetchError, match=rf"1\.tar could not be read in 2 tries \(HTTP {status}"):
        fetch_bytes(f"{server.url}/1.tar", tries=2)


@pytest.mark.parametrize("status", [403, 404, 410])
def test_other_errors_of_the_caller_are_not(server: Served, status: int) -> None:
    server.status = lambda *_: status
    with pytest.raises(MissingError, match=rf"1\.tar cannot be read \(HTTP {status}"):
        fetch_bytes(f"{server.url}/1.tar", tries=5)
    assert server.requests["1.tar"] == 1


def test_a_transfer_that_breaks_off_is_tried_again(server: Served) -> None:
    server.change = lambda _, number, data: data[:300] if number == 1 else data
    assert len(fetch_bytes(f"{server.url}/0.tar", tries=2)) == 1000
    assert server.requests["0.tar"] == 2


def test_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "FIRST_WAIT_SECONDS", 0)
    with pytest.raises(FetchError, match=r"could not be read in 2 tries .*refused"):
        fetch_bytes("http://127.0.0.1:9/a.tar", tries=2)


def test_waits_double(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(fetching.time, "sleep", waits.append)  # type: ignore[attr-defined]

    def fail() -> None:
        raise TransientError("down")

    with pytest.raises(FetchError, match=r"it could not be read in 4 tries \(down\)"):
        retried(fail, "it", 4)
    assert waits == [1, 2, 4]


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "FIRST_WAIT_SECONDS", 0)
    (tmp_path / "a").write_bytes(b"data")
    assert fetch_bytes(f"pipe:cat {tmp_path}/a", tries=1) == b"data"
    with pytest.raises(FetchError, match=r"exit 3 could not be read in 2 tries \(exit code 3\)"):
        fetch_bytes("pipe:exit 3", tries=2)


def test_file_systems_by_fsspec() -> None:
    fsspec = pytest.importorskip("fsspec")
    with fsspec.open("memory://set/a.tar", "wb") as file:
        file.write(b"data")
    assert fetch_bytes("memory://set/a.tar", tries=1) == b"data"
    with pytest.raises(MissingError, match="memory://set/none cannot be read"):
        fetch_bytes("memory://set/none", tries=3)


def test_without_fsspec_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'vitrine\[remote\]'"):
        fetch_bytes("s3://bucket/a.tar", tries=1)


def test_no_more_is_read_into_memory_than_an_index_takes(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "MAX_BYTES", 999)
    with pytest.raises(FetchError, match=r"2\.tar gives more than 999 bytes"):
        fetch_bytes(f"{server.url}/2.tar", tries=2)
    with pytest.raises(FetchError, match=r"pipe:yes gives more than 999 bytes"):
        fetch_bytes("pipe:yes", tries=2)
