"""Failures of one rank, told to all ranks: every process of a run ends, and one of them says why.

Without this, the ranks that did not fail wait in a collective: for ever, or until it breaks with an error that says nothing
of the cause. Each rank asks the run's store once a second whether another one has failed.
"""

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import torch.distributed as dist

from vitrine.core.distributed import leave_process_group

if TYPE_CHECKING:  # a torch without distributed has none
    from torch._C._distributed_c10d import Store

KEY, SEEN, DONE = "vitrine/failure", "vitrine/failure/seen", "vitrine/done"
POLL_SECONDS = 0.5
GRACE_SECONDS = 5.0
"""How long a rank that learns of a failure has to end by itself."""
LINGER_SECONDS = 10.0
"""How long the rank that failed waits for the others: the store may live in it."""


class _Watch:
    """This process's connection to the run's store, and a thread that looks there for a failure."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.store: Store | None = None
        self.rank, self.world_size = 0, 1
        self.failed_rank: int | None = None
        self.code = 0
        self.over = threading.Event()
        self.parent = os.getppid()
        self.thread = threading.Thread(target=self._run, name="failures of other ranks", daemon=True)

    def _run(self) -> None:
        while not self.over.wait(POLL_SECONDS):
            if self.ask():
                if self.failed_rank != self.rank and not self.over.wait(GRACE_SECONDS):
                    end_process(self.code)
                return

    def connect(self) -> bool:
        """Whether there is a store to ask, of a run of several processes."""
        if self.store is None and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            # A connection of its own: the other one may be waiting.
            store = dist.distributed_c10d._get_default_store().clone()  # noqa: SLF001 - there is no public way
            store.set_timeout(timedelta(seconds=LINGER_SECONDS))
            self.store, self.rank, self.world_size = store, dist.get_rank(), dist.get_world_size()
        return self.store is not None

    def ask(self) -> bool:
        """Whether a rank has failed."""
        with self.lock, suppress(RuntimeError):  # the store is gone where rank zero has ended
            if self.failed_rank is None and self.connect() and self.store is not None and self.store.check([KEY]):
                self._take(self.store, self.store.get(KEY).decode())
        return self.failed_rank is not None

    def claim(self, code: int) -> bool:
        """Whether this rank is the first that fails; the others are told."""
        with self.lock, suppress(RuntimeError):
            if self.failed_rank is None and self.connect() and self.store is not None:
                own = f"{self.rank} {code}"
                self._take(self.store, self.store.compare_set(KEY, "", own).decode())
        return self.failed_rank is None or self.failed_rank == self.rank

    def _take(self, store: "Store", record: str) -> None:
        rank, code = record.split()
        self.failed_rank, self.code = int(rank), int(code)
        store.add(SEEN, 1)

    def wait_for_failure(self) -> bool:
        """Whether another rank turns out to have failed: its end may be seen before its message."""
        end = time.monotonic() + GRACE_SECONDS
        while not self.ask():
            if not self.connect() or time.monotonic() > end:
                return False
            time.sleep(POLL_SECONDS / 5)
        return self.failed_rank != self.rank

    def linger(self) -> None:
        """Waits until the other ranks know, lets go of them, and waits for the end of a rank zero that started this process.

        Lightning kills the process of rank zero when one that it started has ended with an error.
        """
        with suppress(RuntimeError):
            self.connect()
        if self.store is None:
            return
        self.stop()
        _wait_until(lambda: self.failed_rank is None or self._count(SEEN) >= self.world_size)
        if dist.get_backend() == "gloo":  # others that wait in a collective then end by themselves
            leave_process_group()
        if self.rank and "LOCAL_RANK" in os.environ and not {"TORCHELASTIC_RUN_ID", "SLURM_JOB_ID"} & set(os.environ):
            _wait_until(lambda: os.getppid() != self.parent)

    def finish(self) -> int:
        """Exit code of a rank that came to its end well: rank zero, where the store may live, waits for the others."""
        with suppress(RuntimeError):
            if self.connect() and self.store is not None:
                self.store.add(DONE, 1)
                if self.rank == 0:
                    _wait_until(lambda: self.ask() or self._count(DONE) >= self.world_size)
        return self.code

    def _count(self, key: str) -> int:
        """Ranks that have counted themselves; all of them where the store is gone."""
        try:
            return self.world_size if self.store is None else self.store.add(key, 0)
        except RuntimeError:
            return self.world_size

    def end_in_time(self, code: int) -> None:
        """Ends this process in any case: leaving a group whose other ranks wait may take for ever."""
        if self.store is not None:
            timer = threading.Timer(LINGER_SECONDS, end_process, (code,))
            timer.daemon = True
            timer.start()

    def stop(self) -> None:
        """Ends the thread, which would ask a store that may be gone."""
        self.over.set()
        self.thread.join(1)


def _wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LINGER_SECONDS
    while not condition() and time.monotonic() < end:
        time.sleep(POLL_SECONDS / 5)


_watch: _Watch | None = None


@contextmanager
def shared_failures() -> Iterator[None]:
    """Within it, this process ends when another rank of its run fails, and the others end when it does.

    For a script's main function, in every process of a run, however these are started. Of several ranks that fail one
    shows its error. The exit code is that of the rank that failed.

    Raises:
        SystemExit: where this rank, or another one, failed.
    """
    global _watch  # noqa: PLW0603 - there is one process group in a process
    _watch = watch = _Watch()
    watch.thread.start()
    try:
        yield
    except SystemExit as error:
        if error.code:
            watch.linger()
            watch.end_in_time(error.code if isinstance(error.code, int) else 1)
        raise
    except BaseException as error:  # noqa: BLE001 - shown below; Ctrl-C ends all ranks as well
        code = _code_of(error, watch)
        watch.end_in_time(code)
        raise SystemExit(code) from None
    else:
        watch.stop()
        if code := watch.finish():
            raise SystemExit(code)
    finally:
        watch.stop()
        _watch = None


def _code_of(error: BaseException, watch: _Watch) -> int:
    """Exit code after an error of this rank, which is shown where no other rank's came before."""
    if watch.wait_for_failure():
        return watch.code
    code = 130 if isinstance(error, KeyboardInterrupt) else 1
    if watch.claim(code):
        traceback.print_exception(error)
        sys.stderr.flush()
        watch.linger()
    return watch.code or code


def is_told_first(code: int) -> bool:
    """Tells the other ranks that this one ends with an exit code; whether none of them failed before.

    True without `shared_failures`, and in a single process.
    """
    return _watch is None or _watch.claim(code)


def end_process(code: int) -> None:
    """Ends this process at once, from any thread, also where its main thread waits in a collective."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(ValueError, OSError):
            stream.flush()
    os._exit(code)
