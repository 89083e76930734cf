"""Shard reader: single samples of a split by shard and number, with a few open files."""

import errno
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from vitrine.data.shards.tar_samples import SampleOffsets, ShardError, find_samples, read_sample

OPEN_FILES = 16
"""Most files that a process holds open for a split."""
KNOWN_SHARDS = 2048
"""Most shards whose samples' offsets a process remembers for a split: 16 bytes a sample."""
T = TypeVar("T")


class ShardFiles(Protocol):
    """The tar files of a split, in the order of its shards."""

    def open(self, shard: int) -> int:
        """A file descriptor to read a shard from.

        Raises:
            ShardError: where it cannot be had.
        """

    def name(self, shard: int) -> str:
        """What messages call a shard."""


def open_file(path: Path) -> int:
    """A descriptor to read a file from, that the processes started later do not inherit.

    Raises:
        OSError: where it cannot be opened, or is a folder or a pipe, which would be waited for.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    return descriptor


class LocalFiles:
    """Tar files in a file system.

    Args:
        paths: of the shards.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def open(self, shard: int) -> int:
        """A file descriptor to read a shard from."""
        try:
            return open_file(self.paths[shard])
        except OSError as error:
            raise ShardError(
                f"{self.paths[shard]} cannot be opened ({error.strerror}); convert the set again."
            ) from error

    def name(self, shard: int) -> str:
        """Its path."""
        return str(self.paths[shard])


class ShardReader:
    """Reads samples in any order; it can be sent to other processes.

    Args:
        files: of the split.
        counts: how many samples each shard holds by the index.
        verify: the command that checks the split, for messages.
    """

    def __init__(self, files: ShardFiles, counts: Sequence[int], verify: str) -> None:
        self.files = files
        self.counts = counts
        self.verify = verify
        self._open: OrderedDict[int, int] = OrderedDict()
        self._offsets: OrderedDict[int, SampleOffsets] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, shard: int, number: int, *, whole: bool = True) -> tuple[str, dict[str, bytes]]:
        """The key of a sample, and its members by extension.

        Args:
            shard: number of the shard in the split.
            number: of the sample in the shard.
            whole: whether a shard is refused that is damaged anywhere; else samples before the damage are read.

        Raises:
            ShardError: for a shard that is broken, or holds other than its index says.
        """
        with self._lock:
            descriptor = _recent(self._open, shard, OPEN_FILES, self.files.open, os.close)
            offsets = _recent(self._offsets, shard, KNOWN_SHARDS, lambda _: self._find(shard, descriptor))
            problem = self._problem(shard, offsets)
            if problem and whole:
                del self._offsets[shard]  # somebody may mend it
            if problem and (whole or number >= len(offsets)):
                raise ShardError(problem)
            try:
                return read_sample(descriptor, int(offsets.starts[number]), int(offsets.ends[number]))
            except ShardError as error:
                raise ShardError(f"{self.files.name(shard)} {error}; run {self.verify}.") from None

    def _find(self, shard: int, descriptor: int) -> SampleOffsets:
        try:
            return find_samples(descriptor)
        except ShardError as error:
            raise ShardError(f"{self.files.name(shard)} {error}.") from None

    def _problem(self, shard: int, offsets: SampleOffsets) -> str:
        """What is wrong with a shard; empty where nothing is."""
        if offsets.problem is not None:
            return f"{self.files.name(shard)} is broken ({offsets.problem}); convert the set again."
        if len(offsets) != self.counts[shard]:
            return (
                f"{self.files.name(shard)} does not hold the {self.counts[shard]} samples that its index lists;"
                f" run {self.verify}."
            )
        if offsets.repeated is not None:
            return f"{self.files.name(shard)} holds the key {offsets.repeated!r} twice; run {self.verify}."
        return ""

    def __getstate__(self) -> dict[str, Any]:
        return {"files": self.files, "counts": self.counts, "verify": self.verify}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # files are opened anew

    def __del__(self) -> None:
        for descriptor in getattr(self, "_open", {}).values():
            os.close(descriptor)


def _recent(
    entries: OrderedDict[int, T],
    key: int,
    most: int,
    make: Callable[[int], T],
    drop: Callable[[T], object] | None = None,
) -> T:
    """An entry, made where it is not there; the one that was not asked for for the longest time makes room for it."""
    if key not in entries:
        while len(entries) >= most:
            _, dropped = entries.popitem(last=False)
            if drop is not None:
                drop(dropped)
        entries[key] = make(key)
    entries.move_to_end(key)
    return entries[key]
