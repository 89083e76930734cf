"""Checks of chunks, and when a store was last used."""

import os
import time
from pathlib import Path

from tests.helpers.store_fakes import filled, flip_byte, store_of
from vitrine.data.feature_store.checking import damaged_chunks, last_used, mark_used, remove_leftovers


def test_a_change_that_keeps_size_and_date_is_found(tmp_path: Path) -> None:
    store = filled(store_of(tmp_path, 43))
    assert damaged_chunks(store.folder) == {}
    path = store.folder / "chunk-000002.safetensors"
    before = path.stat()
    flip_byte(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert list(damaged_chunks(store.folder)) == [2]
    assert list(damaged_chunks(store.folder)) == [2]  # it is not taken for whole the next time


def test_every_chunk_is_read_again_where_that_is_wanted(tmp_path: Path) -> None:
    store = filled(store_of(tmp_path, 43))
    assert damaged_chunks(store.folder) == {}
    record = store.folder / "verified.json"
    path = store.folder / "chunk-000004.safetensors"
    flip_byte(path)
    stamps = record.read_text()
    entry = path.stat()
    old = stamps.split('"4": ')[1].split("]")[0] + "]"
    record.write_text(stamps.replace(old, str([entry.st_size, entry.st_mtime_ns, entry.st_ctime_ns])))
    assert damaged_chunks(store.folder) == {}
    assert list(damaged_chunks(store.folder, every=True)) == [4]


def test_last_use(tmp_path: Path) -> None:
    store = filled(store_of(tmp_path, 4))
    os.utime(store.folder / "manifest.json", (1000, 1000))
    assert last_used(store.folder) == 1000
    mark_used(store.folder)
    assert time.time() - last_used(store.folder) < 60
    assert store.exists
    mark_used(tmp_path / "gone")


def test_unfinished_files_are_removed_an_hour_after(tmp_path: Path) -> None:
    store = filled(store_of(tmp_path, 4))
    old, new = (store.folder / f".chunk-00000{n}.partial-1-a.safetensors" for n in (1, 2))
    for path in (old, new):
        path.touch()
    os.utime(old, (time.time() - 3700,) * 2)
    remove_leftovers(store.folder)
    assert not old.exists()
    assert new.exists()
    assert store.missing_chunks() == []
