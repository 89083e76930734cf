"""The benchmark of the disk: what was evicted is cold, what was read is not, and every way reads what it says."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import feature_store, store_disk
from tests.helpers.disk_files import file_on_disk


def test_evicted_files_are_not_in_memory_and_read_ones_are(tmp_path: Path) -> None:
    path = file_on_disk(tmp_path / "file", 2**20)
    store_disk.read_plainly([path])
    assert store_disk.resident_share([path]) == 1
    store_disk.evict([path])
    assert store_disk.resident_share([path]) == 0


def test_what_stays_in_memory_is_told(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(2**20))
    kept = np.memmap(path, mode="r")
    assert int(kept.sum()) == 0  # touched, so that its pages are mapped
    with pytest.raises(OSError, match="still in memory"):
        store_disk.evict([path])


def test_figures_of_a_small_store(tmp_path: Path) -> None:
    file_on_disk(tmp_path / "file", 1)
    table = feature_store.written_store(tmp_path, 150, width=30_000, classes=100)
    found = store_disk.disk_figures(table, batch_size=64, random_rows=100, rounds=1, seed=0)
    assert list(found) == ["in order", "at random"]
    for of in found.values():
        ours, plain = of[f"{store_disk.STORE}, MB/s"], of[f"{store_disk.PLAIN}, MB/s"]
        assert of[f"store over {store_disk.PLAIN}"] == pytest.approx(ours / plain)
