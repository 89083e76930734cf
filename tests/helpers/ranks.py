"""A pool of rank processes: functions run in process groups of two, without starting Python anew for each test.

``ranks.run(function, *arguments)`` calls ``function(rank, *arguments)`` in every process of the pool, within a gloo process
group of its own, and gives back the values by rank. Function, arguments and values travel pickled, so the function is one of
the top level of a test module or of ``tests.helpers``. The processes live as long as the session and import torch once;
`rank_process` is what runs in them.

Lightning's ``strategy="ddp"`` finds the group and the rank set up, and starts no processes:
``Trainer(devices=2, strategy="ddp")``.
"""

import math
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]
GRACE = 10.0
"""Seconds that the other ranks have to come to an end where one has failed."""


class RankError(Exception):
    """A rank that raised, ended or did not answer in time; the message holds its traceback or the end of its output."""


@dataclass(frozen=True)
class Call:
    """What a rank process is asked to do; ``work`` is a pickled function and its arguments."""

    work: bytes
    environment: dict[str, str]
    rendezvous: str
    world_size: int
    timeout: float
    folder: str


@dataclass(frozen=True)
class Reply:
    """The pickled value of a call, or the traceback of what it raised and when, in seconds of the monotonic clock."""

    value: bytes = b""
    traceback: str = ""
    failed_at: float = 0


class RankPool:
    """Processes that are started by the first call, and started anew by the next call after one crashed or hung.

    Args:
        world_size: number of ranks.
    """

    def __init__(self, world_size: int = 2) -> None:
        self.world_size = world_size
        self._folder = tempfile.TemporaryDirectory(prefix="ranks-")
        self._processes: list[_RankProcess] = []
        self._calls = 0

    def run(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        folder: Path | None = None,
        timeout: float = 300,
        **options: Any,
    ) -> list[Any]:
        """Calls ``function(rank, *arguments)`` on every rank, with ``folder`` as its working directory.

        The environment is that of this process, and random numbers start from the same seed. What a function changes of the
        environment, the working directory and ``sys.argv`` is put back.

        Raises:
            RankError: where a rank raised, ended, or took longer than ``timeout`` seconds.
        """
        self._calls += 1
        call = Call(
            work=pickle.dumps((function, arguments, options)),
            environment=dict(os.environ),
            rendezvous=f"{self._folder.name}/rendezvous-{self._calls}",
            world_size=self.world_size,
            timeout=timeout,
            folder=str(folder or ROOT),
        )
        if not self._processes:
            self._processes = [_RankProcess(rank, Path(self._folder.name)) for rank in range(self.world_size)]
        try:
            for process in self._processes:
                process.send(call)
            values, failures = self._replies(timeout)
        except BaseException:
            self.close()  # replies that were not read would be taken for those to the next call
            raise
        if failures:
            name = getattr(function, "__name__", function)
            raise RankError("\n".join([f"{name} failed on {len(failures)} of {self.world_size} ranks.", *failures]))
        return [pickle.loads(values[rank]) for rank in range(self.world_size)]

    def _replies(self, timeout: float) -> tuple[dict[int, bytes], list[str]]:
        """Pickled values by rank, and what went wrong, the first failure first."""
        values: dict[int, bytes] = {}
        failures: list[tuple[float, str]] = []
        waiting = {process.connection: process for process in self._processes}
        end = time.monotonic() + timeout
        while waiting:
            ready = wait(list(waiting), max(end - time.monotonic(), 0))
            if not ready:
                failures += [(math.inf, process.hung()) for process in waiting.values()]
                self.close()
                break
            for connection in ready:
                process = waiting.pop(connection)  # type: ignore[call-overload]  # wait gives back what it was given
                reply = process.receive()
                values[process.rank] = reply.value
                if reply.traceback:
                    failures.append((reply.failed_at, f"Rank {process.rank} {reply.traceback}"))
                    end = min(end, time.monotonic() + GRACE)
        if any(process.process.poll() is not None for process in self._processes):
            self.close()
        return values, [failure for _, failure in sorted(failures)]

    def close(self) -> None:
        """Ends the processes."""
        for process in self._processes:
            process.kill()
        self._processes = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        self._folder.cleanup()


class _RankProcess:
    """One process of the pool and the pipe to it."""

    def __init__(self, rank: int, folder: Path) -> None:
        self.rank = rank
        self.output = folder / f"output-{rank}.txt"
        self.connection, remote = Pipe()
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        variables = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.helpers.rank_process", str(rank), str(remote.fileno())],
                env=os.environ | variables,
                cwd=ROOT,
                pass_fds=[remote.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        remote.close()

    def send(self, call: Call) -> None:
        with suppress(BrokenPipeError):  # a process that is no more is told of where its reply is awaited
            self.connection.send_bytes(pickle.dumps(call))

    def receive(self) -> Reply:
        """A reply; for a process that has ended, one that says so."""
        try:
            reply: Reply = pickle.loads(self.connection.recv_bytes())
        except (EOFError, ConnectionResetError):
            told = f"ended with exit code {self.process.wait()}. Its output:\n{self.tail()}"
            return Reply(traceback=told)
        return replace(reply, traceback=f"raised:\n{reply.traceback}") if reply.traceback else reply

    def hung(self) -> str:
        """Where a rank is that has not replied in time."""
        self.process.send_signal(signal.SIGUSR1)  # writes its stacks
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(0.5)
        return f"Rank {self.rank} gave no answer in time. Its output:\n{self.tail()}"

    def tail(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace")[-3000:]

    def kill(self) -> None:
        self.connection.close()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # with its workers that load data
        self.process.wait()
