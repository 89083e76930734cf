"""Tests of file locks."""

import json
import multiprocessing as mp
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vitrine.core import locks
from vitrine.core.locks import LockHeldError, LockOwner, file_lock, read_owner


def _write(path: Path, **changes: object) -> None:
    owner = {"purpose": "fit", "host": "elsewhere", "pid": 1, "since": time.time(), "nonce": "t"}
    path.write_text(json.dumps(owner | changes), encoding="utf-8")


def _dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_lock_stands_while_it_is_held_and_is_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "new" / ".lock"
    with file_lock(path, "fit in runs/a"):
        owner = read_owner(path)
        assert owner is not None
        assert (owner.pid, owner.host, owner.purpose) == (os.getpid(), socket.gethostname(), "fit in runs/a")
    assert list(path.parent.iterdir()) == []


def test_an_error_within_releases_the_lock(tmp_path: Path) -> None:
    with pytest.raises(KeyError), file_lock(tmp_path / ".lock", "fit"):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_held_lock_is_refused_with_its_owner(tmp_path: Path) -> None:
    _write(tmp_path / ".lock", purpose="fit in runs/a", pid=77, since=time.time() - 180)
    held = pytest.raises(LockHeldError, match=r"process 77 on elsewhere \(fit in runs/a, for 3 min\)")
    with held, file_lock(tmp_path / ".lock", "fit"):
        raise AssertionError
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_the_lock_of_a_dead_process_here_is_taken_over_at_once(tmp_path: Path) -> None:
    _write(tmp_path / ".lock", host=socket.gethostname(), pid=_dead_pid())
    with file_lock(tmp_path / ".lock", "fit"):
        owner = read_owner(tmp_path / ".lock")
        assert owner is not None
        assert owner.pid == os.getpid()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{"])
def test_a_lock_without_heartbeat_is_taken_over_also_where_it_cannot_be_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / ".lock"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LockHeldError, match="another process"), file_lock(path, "fit"):
        raise AssertionError
    old = time.time() - locks.STALE_SECONDS - 1
    os.utime(path, (old, old))
    with file_lock(path, "fit"):
        assert read_owner(path) is not None


def test_the_heartbeat_keeps_a_lock_from_lapsing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "HEARTBEAT_SECONDS", 0.01)
    path = tmp_path / ".lock"
    with file_lock(path, "fit"):
        os.utime(path, (0, 0))
        limit = time.monotonic() + 10
        while path.stat().st_mtime == 0:
            assert time.monotonic() < limit
            time.sleep(0.01)


def test_a_holder_whose_lock_was_taken_over_leaves_that_of_the_other(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with file_lock(path, "fit"):
        _write(path, nonce="other")
    assert read_owner(path) is not None


def test_a_stale_lock_that_another_took_meanwhile_is_put_back(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    _write(path, nonce="new")
    locks._remove_stale(path, LockOwner("fit", "elsewhere", 1, 0.0, "old"))
    owner = read_owner(path)
    assert owner is not None
    assert owner.nonce[:1] == "n"
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def _count(folder: Path, turns: int) -> None:
    for _ in range(turns):
        with file_lock(folder / ".lock", "count", wait=True):
            number = int((folder / "number").read_text())
            time.sleep(0.001)
            (folder / "number").write_text(str(number + 1))


def test_one_process_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "POLL_SECONDS", 0.001)
    (tmp_path / "number").write_text("0")
    processes = [mp.get_context("fork").Process(target=_count, args=(tmp_path, 25)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert (tmp_path / "number").read_text() == "100"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["number"]


def test_who_waits_is_told_once_for_whom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "POLL_SECONDS", 0.001)
    path, told = tmp_path / ".lock", []
    _write(path)

    def on_wait(owner: LockOwner | None) -> None:
        told.append(owner)
        path.unlink()

    with file_lock(path, "fit", wait=True, on_wait=on_wait):
        pass
    assert [owner and owner.host for owner in told] == ["elsewhere"]
