"""Background calls: work that is done in a thread beside a loop, with a bounded number of calls waiting."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, Self, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Background:
    """Runs calls in the order in which they come, in one thread; errors are raised where the calls are made and awaited.

    What a call holds, such as images, stays in memory until it is done; `call` waits where ``most_waiting`` are not.

    Args:
        name: of the thread.
        most_waiting: calls that wait at most.

    Example:
        >>> seen = []
        >>> with Background("example") as background:  # which ends it, after an error without the calls that wait
        ...     for number in range(3):
        ...         _ = background.call(seen.append, number)
        >>> seen
        [0, 1, 2]
    """

    def __init__(self, name: str, most_waiting: int = 64) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._calls: deque[Future[object]] = deque()
        self._most_waiting = most_waiting

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish()
        else:
            self.drop()

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Runs a function after all earlier calls; its value is the result of what is returned.

        Raises:
            Exception: of an earlier call that failed; this one is then not made.
        """
        while self._calls and (self._calls[0].done() or len(self._calls) >= self._most_waiting):
            self._calls.popleft().result()
        future = self._thread.submit(function, *args, **kwargs)
        self._calls.append(future)  # type: ignore[arg-type]  # futures are not covariant
        return future

    def wait(self) -> None:
        """Waits until all calls so far are done.

        Raises:
            Exception: of the first call that failed.
        """
        while self._calls:
            self._calls.popleft().result()

    def finish(self) -> None:
        """Waits until all calls are done, and takes no more.

        Raises:
            Exception: of the first call that failed; those after it are dropped.
        """
        try:
            self.wait()
        finally:
            self.drop()

    def drop(self) -> None:
        """Leaves out the calls that wait, and waits for the one that runs."""
        self._calls.clear()
        self._thread.shutdown(wait=True, cancel_futures=True)
