"""Shard cache: copies of remote shards on the local disk, shared by all processes of a machine and bounded in size."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vitrine.core.atomic_io import atomic_file
from vitrine.core.credentials import hide_credentials
from vitrine.core.locks import file_lock
from vitrine.core.options import Count, Options, Positive
from vitrine.data.streams.fetching import FetchError, TransientError, fetch, retried
from vitrine.data.streams.locations import PIPE

BYTES_PER_GB = 1_000_000_000


@dataclass(frozen=True)
class ShardCacheOptions(Options):
    """Copies of shards that are not local.

    Args:
        folder: the cache, which runs and ranks on a machine share.
        size_gb: gigabytes at most; those not in use that were not read for the longest time make room. It has to hold the
            shards of one window of ``loading.shuffle_buffer`` samples, which are read in random order.
        tries: at most, for each download.

    Raises:
        OptionError: for a number out of range.
    """

    folder: str | Path = "data/shard_cache"
    size_gb: Positive = 100.0
    tries: Count = 4


class ShardCache:
    """Fetches each shard once, checks it, and removes those not read for the longest time.

    A shard has its name only once it is complete. A process that reads one holds a shared ``flock``, which ends with it
    however it ends; a shard that is held is never removed.

    Args:
        options: folder, size and tries.
    """

    def __init__(self, options: ShardCacheOptions) -> None:
        self.options = options
        self.folder = Path(options.folder)

    def path(self, url: str, sha256: str | None) -> Path:
        """Where the copy of a shard is, or is to be."""
        digest = hashlib.sha256(f"{url} {sha256}".encode()).hexdigest()[:20]
        name = "output" if url.startswith(PIPE) else PurePosixPath(url).stem
        return self.folder / f"{digest}-{name}.tar"

    def fetch(self, url: str, sha256: str | None) -> Path:
        """The path of a shard's copy, fetched where it is not there.

        Args:
            url: of the shard.
            sha256: what its bytes must have; None where nobody knows.

        Raises:
            FetchError: where it cannot be fetched, or its bytes are others.
        """
        path = self.path(url, sha256)
        if path.is_file():
            return path
        with file_lock(path.with_suffix(".lock"), f"download of {hide_credentials(url)}", wait=True):
            if not path.is_file():
                for partial in self.folder.glob(f".{path.stem}.partial-*"):  # of a process that was killed
                    partial.unlink(missing_ok=True)
                retried(lambda: self._download(url, sha256, path), url, self.options.tries)
        self._make_room(path)
        return path

    def open(self, url: str, sha256: str | None) -> int:
        """A file descriptor of a shard's copy; until it is closed, the copy is not removed. Errors are those of `fetch`."""
        while True:
            path = self.fetch(url, sha256)
            with suppress(FileNotFoundError):  # removed in between
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                if os.fstat(descriptor).st_nlink:
                    os.utime(path)
                    return descriptor
                os.close(descriptor)

    def _download(self, url: str, sha256: str | None, path: Path) -> None:
        digest = hashlib.sha256()
        with atomic_file(path) as partial:
            with partial.open("wb") as file:

                def take(chunk: bytes) -> None:
                    file.write(chunk)
                    digest.update(chunk)

                fetch(url, take)
                file.flush()
                os.fsync(file.fileno())
            if sha256 is not None and digest.hexdigest() != sha256:
                raise TransientError("its sha256 is not the one that index.json lists")

    def _make_room(self, newest: Path) -> None:
        """Removes copies beyond the bound, those that were not read for the longest time first."""
        bound, copies = self.options.size_gb * BYTES_PER_GB, []
        for path in self.folder.glob("[!.]*.tar"):  # none that is being written
            with suppress(FileNotFoundError):
                status = path.stat()
                copies.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in copies)
        for _, size, path in sorted(copies):
            if total <= bound:
                return
            if path != newest and _remove_unused(path):
                total -= size


def _remove_unused(path: Path) -> bool:
    """Removes a file unless somebody holds it; whether it is gone."""
    try:
        with _descriptor(path) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False
    return True


@contextmanager
def _descriptor(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


__all__ = ["FetchError", "ShardCache", "ShardCacheOptions"]
