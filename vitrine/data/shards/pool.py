"""Process pool: runs one task for each shard, with a progress bar that counts samples."""

import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.synchronize import Event
from typing import Any, TypeVar

from vitrine.core.locks import HEARTBEAT
from vitrine.core.progress import progress_bar

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")
Advance = Callable[[], None]
"""Called by a task after each sample; raises `StoppedError` to stop the task."""

_POLL_SECONDS = 0.2
_shared: dict[str, Any] = {}


class StoppedError(Exception):
    """Raised in a task after another one has failed, or the user has interrupted the run."""


def run_tasks(
    function: Callable[[TaskT, Advance], ResultT], tasks: Sequence[TaskT], *, workers: int, total: int, title: str
) -> list[ResultT]:
    """Runs ``function`` on each task; in this process with fewer than two workers or tasks.

    Args:
        function: importable function of a task and of a callback, to be called after each sample.
        tasks: picklable tasks.
        workers: maximum number of processes.
        total: number of samples in all tasks, for the progress bar.
        title: of the progress bar.

    Returns:
        The results in the order of the tasks.

    Raises:
        ChildProcessError: where a worker was killed.
        Exception: the first error of a task, after all others have stopped.

    Example:
        >>> def square(task, advance):
        ...     advance()
        ...     return task**2
        >>> run_tasks(square, [2, 3], workers=1, total=2, title="squares")
        [4, 9]
    """
    if min(workers, len(tasks)) > 1:
        return _run_in_pool(function, tasks, min(workers, len(tasks)), total, title)
    with progress_bar(title, total, shown=sys.stderr.isatty(), unit="images", transient=True) as advance:
        return [function(task, lambda: advance(1)) for task in tasks]


def _run_in_pool(
    function: Callable[[TaskT, Advance], ResultT], tasks: Sequence[TaskT], workers: int, total: int, title: str
) -> list[ResultT]:
    context = multiprocessing.get_context(_start_method())
    counter, stop = context.Value("q", 0), context.Event()
    with ProcessPoolExecutor(workers, context, _enter_worker, (counter, stop)) as pool:
        try:
            # Submitting starts the workers, and the bar starts a thread: in this order no thread is forked.
            futures = [pool.submit(_run_in_worker, function, task) for task in tasks]
            with progress_bar(title, total, shown=sys.stderr.isatty(), unit="images", transient=True) as advance:
                # The counter is read without its lock: a Ctrl-C while holding it would block the workers.
                _wait_for(futures, lambda: counter.get_obj().value, advance)
            return [future.result() for future in futures]
        except BrokenProcessPool:
            raise ChildProcessError(
                "A worker process was killed, most likely for lack of memory; use fewer --workers."
            ) from None
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def _start_method() -> str:
    """Fork, which also works for scripts without a ``__main__`` guard; spawn beside other threads and on macOS."""
    others = [thread for thread in threading.enumerate() if not thread.name.startswith(HEARTBEAT)]
    return "fork" if sys.platform == "linux" and len(others) == 1 else "spawn"


def _wait_for(futures: Sequence[Future[Any]], num_done: Callable[[], int], advance: Callable[[int], None]) -> None:
    pending, num_shown = set(futures), 0
    while pending:
        finished, pending = wait(pending, timeout=_POLL_SECONDS, return_when=FIRST_EXCEPTION)
        current = num_done()
        advance(current - num_shown)
        num_shown = current
        for future in finished:
            future.result()


def _enter_worker(counter: Any, stop: Event) -> None:
    """Ignores Ctrl-C, which a terminal sends to the workers too: the parent stops them."""
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
