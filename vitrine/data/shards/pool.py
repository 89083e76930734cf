"""Runs one task a shard, here or in worker processes, under a progress bar that counts samples."""

import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")
Advance = Callable[[], None]
"""Called by a task after each sample; raises where the task is to stop."""

_POLL_SECONDS = 0.2
_shared: dict[str, Any] = {}


class StoppedError(Exception):
    """Another task has failed, or the user has interrupted; this one's result is not wanted any more."""


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:.0f} images/s", style="progress.data.speed")


def run_tasks(
    function: Callable[[TaskT, Advance], ResultT], tasks: Sequence[TaskT], *, workers: int, total: int, title: str
) -> list[ResultT]:
    """Runs ``function`` on each task; with fewer than two workers or tasks in this process.

    Args:
        function: Importable function of a task and of what it has to call after each sample.
        tasks: Picklable tasks.
        workers: Largest number of processes.
        total: Samples in all tasks, for the bar.
        title: What stands before the bar.

    Raises:
        ChildProcessError: A worker was killed.
        Exception: The first error of a task, after all others have stopped.
    """
    if min(workers, len(tasks)) > 1:
        return _run_in_pool(function, tasks, min(workers, len(tasks)), total, title)
    with _bar(total, title) as show:
        done = iter(range(1, sys.maxsize))
        return [function(task, lambda: show(next(done))) for task in tasks]


def _run_in_pool(
    function: Callable[[TaskT, Advance], ResultT], tasks: Sequence[TaskT], workers: int, total: int, title: str
) -> list[ResultT]:
    context = multiprocessing.get_context(_start_method())
    counter, stop = context.Value("q", 0), context.Event()
    with ProcessPoolExecutor(workers, context, _enter_worker, (counter, stop)) as pool:
        try:
            # Submitting starts the workers, and the bar starts a thread: in this order no thread is there to be forked.
            futures = [pool.submit(_run_in_worker, function, task) for task in tasks]
            with _bar(total, title) as show:
                # Read without its lock: a Ctrl-C between taking and releasing that would leave the workers waiting.
                _follow(futures, lambda: show(counter.get_obj().value))
            return [future.result() for future in futures]
        except BrokenProcessPool:
            raise ChildProcessError(
                "A worker process was killed, most likely for want of memory: use fewer --workers."
            ) from None
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def _start_method() -> str:
    """Fork also serves scripts without a ``__main__`` guard, but is unsafe beside other threads and on macOS."""
    return "fork" if sys.platform == "linux" and threading.active_count() == 1 else "spawn"


def _follow(futures: Sequence[Future[Any]], show: Advance) -> None:
    pending = set(futures)
    while pending:
        finished, pending = wait(pending, timeout=_POLL_SECONDS, return_when=FIRST_EXCEPTION)
        show()
        for future in finished:
            future.result()


def _enter_worker(counter: Any, stop: Event) -> None:
    """A terminal sends Ctrl-C to the workers too; stopping them is the parent's task."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _shared.update(counter=counter, stop=stop)


def _run_in_worker(function: Callable[[TaskT, Advance], ResultT], task: TaskT) -> ResultT:
    return function(task, _advance_shared)


def _advance_shared() -> None:
    if _shared["stop"].is_set():
        raise StoppedError
    with _shared["counter"].get_lock():
        _shared["counter"].value += 1


@contextmanager
def _bar(total: int, title: str) -> Iterator[Callable[[int], None]]:
    console = Console(stderr=True)
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), _RateColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done: progress.update(task, completed=done)
