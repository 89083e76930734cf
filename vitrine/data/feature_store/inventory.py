"""Inventory of a feature cache: its stores, how whole they are, what they belong to, and which may go."""

import re
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vitrine.core.locks import LockHeldError, file_lock
from vitrine.data.feature_store.checking import last_used, remove_leftovers
from vitrine.data.feature_store.chunk_file import CHUNK_PATTERN
from vitrine.data.feature_store.manifest import EXTRACTION_VERSION, MANIFEST, Manifest, read_manifest
from vitrine.data.shards.schema import parse_index

_STORE_NAME = re.compile(r"[0-9a-f]{16}")
_STORE_FILES = (MANIFEST, CHUNK_PATTERN, "done.npy")


@dataclass(frozen=True)
class StoreEntry:
    """One store of a cache.

    Args:
        folder: that of the store.
        manifest: what it holds; None for a store of an earlier format, or with a damaged manifest.
        num_chunks: chunks that are there.
        size: bytes of all its files.
        used: Unix time at which it was last opened.
    """

    folder: Path
    manifest: Manifest | None
    num_chunks: int
    size: int
    used: float

    @property
    def lock(self) -> Path:
        """The lock of the store, held by the run that computes it."""
        return self.folder.with_name(f"{self.folder.name}.lock")

    @property
    def state(self) -> str:
        """``complete``, the share that is, or ``earlier format``."""
        if self.manifest is None:
            return "earlier format"
        if self.num_chunks >= self.manifest.num_chunks:
            return "complete"
        return f"{100 * self.num_chunks // self.manifest.num_chunks} %"

    @property
    def is_stale(self) -> bool:
        """Whether no fit of this release would read it, whatever there is of weights and shards."""
        return self.manifest is None or self.manifest.depends_on.get("extraction") != str(EXTRACTION_VERSION)

    def belongs_to(self, name: str) -> str:
        """What the store was made for, by name; empty where that is not known."""
        return "" if self.manifest is None else self.manifest.belongs_to.get(name, "")

    def reason_to_go(self) -> str | None:
        """Why no fit needs the store any more, as the end of a sentence; None where it may be needed."""
        if self.is_stale:
            return "is of an earlier version"
        if self.state != "complete":
            return f"is incomplete ({self.state})"
        return self._lost_weights() or self._lost_shards()

    def _lost_weights(self) -> str | None:
        weights = Path(self.belongs_to("weights"))
        return f"has lost its weights {weights}" if weights.is_absolute() and not weights.is_file() else None

    def _lost_shards(self) -> str | None:
        split = self.belongs_to("split")
        if not split or ":/" in split or self.manifest is None:
            return None
        try:
            index = parse_index(Path(split))
        except (ValueError, OSError):
            return f"has lost its shards in {split}"
        sums = " ".join(shard.sha256 for shard in index.shards)
        return None if self.manifest.depends_on.get("shards") == sums else f"is of other shards than are in {split} now"


def list_stores(cache: Path) -> list[StoreEntry]:
    """The stores in a cache's folder, the last used first; other folders are left out.

    Raises:
        FileNotFoundError: where the folder does not exist.
    """
    if not cache.is_dir():
        raise FileNotFoundError(f"{cache} does not exist; give the folder of the features with --folder.")
    named = [path for path in cache.iterdir() if path.is_dir() and _STORE_NAME.fullmatch(path.name)]
    stores = [path for path in named if any(next(path.glob(file), None) for file in _STORE_FILES)]
    return sorted(map(_entry, stores), key=lambda entry: -entry.used)


def to_prune(
    stores: Sequence[StoreEntry], older_than_days: float | None = None, max_bytes: float | None = None
) -> list[tuple[StoreEntry, str]]:
    """The stores that may go, each with the reason.

    Args:
        stores: the last used first.
        older_than_days: those go too that were not used for so long.
        max_bytes: those go too, from the one that was not used for longest, that are too much for a cache of this size.
    """
    found: list[tuple[StoreEntry, str]] = []
    kept_bytes, now = 0, time.time()
    for store in stores:
        days = (now - store.used) / 86400
        reason = store.reason_to_go()
        if reason is None and older_than_days is not None and days > older_than_days:
            reason = f"was not used for {days:.0f} days"
        if reason is None and max_bytes is not None and kept_bytes + store.size > max_bytes:
            reason = "does not fit into the size that is allowed"
        if reason is None:
            kept_bytes += store.size
        else:
            found.append((store, reason))
    return found


def is_in_use(store: StoreEntry) -> bool:
    """Whether a run computes the store at present."""
    try:
        with file_lock(store.lock, "looked at by vitrine.features"):
            return False
    except LockHeldError:
        return True


def remove_store(store: StoreEntry) -> None:
    """Removes a store's folder.

    Raises:
        LockHeldError: where a run computes it.
    """
    with file_lock(store.lock, "removed by vitrine.features"):
        shutil.rmtree(store.folder)


def tidy_store(store: StoreEntry) -> None:
    """Removes what killed processes left in a store, unless a run computes it."""
    with suppress(LockHeldError), file_lock(store.lock, "tidied by vitrine.features"):
        remove_leftovers(store.folder)


def _entry(folder: Path) -> StoreEntry:
    manifest = None
    with suppress(ValueError, OSError, TypeError):
        manifest = read_manifest(folder)
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return StoreEntry(folder, manifest, len(list(folder.glob(CHUNK_PATTERN))), size, last_used(folder))
