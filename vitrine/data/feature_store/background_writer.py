"""BackgroundWriter: a file is finished in a thread while what comes next is computed."""

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from vitrine.core.background import Background


class BackgroundWriter:
    """Finishes files one after the other in a thread of its own, at most one at a time, so that little waits in memory.

    As a context manager it waits for the last file on leaving, also after an error. An error of a write is raised by the
    next call, or on leaving.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from vitrine.core.atomic_io import atomic_file
        >>> with tempfile.TemporaryDirectory() as folder, BackgroundWriter() as writer, ExitStack() as unfinished:
        ...     path = unfinished.enter_context(atomic_file(Path(folder) / "greeting.txt"))
        ...     writer.finish(unfinished, lambda: path.write_text("hello"))
        ...     writer.wait()
        ...     (Path(folder) / "greeting.txt").read_text()
        'hello'
    """

    def __init__(self) -> None:
        self._background = Background("feature-store")

    def finish(self, unfinished: ExitStack, write: Callable[[], object]) -> None:
        """Begins to write once the file before is done.

        Args:
            unfinished: contexts that are taken over, and left once the file is written, or where that fails.
            write: what is done in the thread.
        """
        self.wait()
        self._background.call(_within, unfinished.pop_all(), write)

    def wait(self) -> None:
        """Waits for what was begun, and raises its error."""
        self._background.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._background.finish()


def _within(contexts: ExitStack, write: Callable[[], object]) -> None:
    with contexts:
        write()
