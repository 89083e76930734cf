"""File locks between processes and nodes of one file system, with an owner, an age and a heartbeat."""

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

HEARTBEAT_SECONDS = 5.0
"""How often an owner renews its lock."""
STALE_SECONDS = 60.0
"""Age of the last heartbeat after which an owner on another machine is taken for dead."""
POLL_SECONDS = 0.2
HEARTBEAT = "heartbeat of "
"""How the names of threads that renew locks begin; they do nothing that a forked process could be caught in."""


@dataclass(frozen=True)
class LockOwner:
    """Who holds a lock.

    Args:
        purpose: what for, as the end of a sentence: ``fit in runs/cub``.
        host: name of the machine.
        pid: process on that machine.
        since: Unix time at which it was taken, by that machine's clock.
        nonce: unique to this holder.
    """

    purpose: str
    host: str
    pid: int
    since: float
    nonce: str

    def __str__(self) -> str:
        minutes = max(time.time() - self.since, 0) / 60
        return f"process {self.pid} on {self.host} ({self.purpose}, for {minutes:.0f} min)"


class LockHeldError(ValueError):
    """Somebody else holds a lock.

    Args:
        path: of the lock.
        owner: who holds it; None where its file cannot be read.
    """

    def __init__(self, path: Path, owner: LockOwner | None) -> None:
        self.owner = owner
        super().__init__(
            f"{path.parent} is in use by {owner or 'another process'}; wait until it ends, or give another folder. If it is"
            f" gone, its lock {path.name} lapses {STALE_SECONDS:.0f} seconds after its last sign of life."
        )


@contextmanager
def file_lock(
    path: Path, purpose: str, *, wait: bool = False, on_wait: Callable[[LockOwner | None], None] | None = None
) -> Iterator[None]:
    """Holds a lock: a file that one process at a time may have, also over the machines that share a file system.

    The lock of a process that died is taken over: at once on the same machine, else when it has given no sign of life for
    ``STALE_SECONDS``. That is judged by the file system's clock, since those of machines differ.

    Args:
        path: of the lock's file; missing parent folders are made.
        purpose: what the lock is for, shown to others.
        wait: whether to wait for another holder.
        on_wait: called once with the holder where there is something to wait for.

    Raises:
        LockHeldError: where another process holds it and ``wait`` is false.
    """
    owner = LockOwner(purpose, socket.gethostname(), os.getpid(), time.time(), secrets.token_hex(8))
    Path(os.path.realpath(path.parent)).mkdir(parents=True, exist_ok=True)  # also where a link leads to nothing yet
    while not _take(path, owner):
        holder = read_owner(path)
        if _is_stale(path, holder):
            _remove_stale(path, holder)
        elif not wait:
            raise LockHeldError(path, holder)
        else:
            if on_wait is not None:
                on_wait(holder)
                on_wait = None
            time.sleep(POLL_SECONDS)
    released = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, owner, released), name=f"{HEARTBEAT}{path.name}", daemon=True)
    beat.start()
    try:
        yield
    finally:
        released.set()
        beat.join()
        if read_owner(path) == owner:
            path.unlink(missing_ok=True)


def read_owner(path: Path) -> LockOwner | None:
    """Who holds a lock; None where nobody does, or its file is being written."""
    try:
        return LockOwner(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _take(path: Path, owner: LockOwner) -> bool:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(owner), file)
    return True


def _beat(path: Path, owner: LockOwner, released: threading.Event) -> None:
    while not released.wait(HEARTBEAT_SECONDS):
        if read_owner(path) != owner:  # this process stood still so long that another took over
            return
        with suppress(OSError):
            os.utime(path)


def _is_stale(path: Path, holder: LockOwner | None) -> bool:
    if holder is not None and holder.host == socket.gethostname() and not is_running(holder.pid):
        return True
    return _age(path) > STALE_SECONDS


def _age(path: Path) -> float:
    """Seconds since the last heartbeat by the file system's clock; 0 where the lock is gone."""
    probe = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except OSError:
        return 0.0
    finally:
        probe.unlink(missing_ok=True)


def is_running(pid: int) -> bool:
    """Whether this machine has a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove_stale(path: Path, holder: LockOwner | None) -> None:
    """Removes a stale lock, unless somebody else has removed and taken it since it was read."""
    aside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    if read_owner(aside) != holder:
        with suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink(missing_ok=True)
