"""Progress bars on stderr, drawn by rich."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


@contextmanager
def progress_bar(
    title: str, total: int | None, *, shown: bool, unit: str = "", transient: bool = False
) -> Iterator[Callable[[int], None]]:
    """Shows a progress bar on stderr for the duration of the block.

    Args:
        title: the text before the bar.
        total: number of steps; None where it is unknown.
        shown: whether the bar is drawn at all.
        unit: what a step is, such as ``"images"``: adds the rate in units a second; no rate is shown without it.
        transient: whether the bar disappears at the end.

    Yields:
        A function to be called with the number of steps made since its last call.
    """
    rate = [_RateColumn(unit)] if unit else []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *rate, TimeRemainingColumn())
    console = Console(file=sys.stderr)
    with Progress(*columns, console=console, transient=transient, disable=not shown) as progress:
        task = progress.add_task(title, total=total)
        yield lambda steps: progress.advance(task, steps)


class _RateColumn(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} {self.unit}/s" if speed else "", style="progress.data.speed")
