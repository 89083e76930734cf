"""Checked sums of shards: whether the tar files of a split are those that its index lists."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vitrine.core.file_stamps import LONG_READ_BYTES, file_stamp, read_stamps, write_stamps
from vitrine.core.progress import progress_bar
from vitrine.data.shards.schema import ShardEntry

_THREADS = 4  # reading and hashing run beside each other; more do not help one disk


def check_sums(folder: Path, shards: Sequence[ShardEntry], record: Path, *, shown: bool = False) -> None:
    """Checks each tar file that has changed since it was last checked, or never was, against the index's SHA-256.

    Args:
        folder: of the split.
        shards: entries of its index.
        record: file that keeps the size and times of the checked files.
        shown: whether a progress bar is drawn where there is something to read.

    Raises:
        FileNotFoundError: where a tar file is absent.
        ValueError: where one is another than the index says.
    """
    checked, now = read_stamps(record), {shard.file: file_stamp(folder / shard.file) for shard in shards}
    names = {shard.file: f"{shard.file} {shard.sha256}" for shard in shards}
    changed = [shard for shard in shards if checked.get(names[shard.file]) != now[shard.file]]
    if not changed:
        return
    shown = shown and sum(now[shard.file][0] for shard in changed) >= LONG_READ_BYTES
    bar = progress_bar(f"Checksums of {folder}", len(changed), shown=shown, unit="files", transient=True)
    with ThreadPoolExecutor(_THREADS) as pool, bar as advance:
        sums = pool.map(_sha256, [folder / shard.file for shard in changed])
        for shard, actual in zip(changed, sums, strict=True):
            advance(1)
            if actual != shard.sha256:
                pool.shutdown(wait=False, cancel_futures=True)
                raise ValueError(
                    f"{folder / shard.file} is not the file that index.json lists, its SHA-256 is another; convert the"
                    f" split again, and see python -m vitrine.shards verify {folder}."
                )
    write_stamps(record, {names[name]: stamp for name, stamp in now.items()})


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
