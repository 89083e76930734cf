"""A progress bar on stderr."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress_bar(title: str, total: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """A bar on stderr.

    Args:
        title: stands before it.
        total: steps to come.
        shown: whether there is a bar at all.

    Yields:
        What is called with the number of steps that were done.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr), disable=not shown) as progress:
        task = progress.add_task(title, total=total)
        yield lambda steps: progress.advance(task, steps)
