"""Read-ahead: which pages the system is asked for, and that what is read does not depend on it."""

import mmap
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import store_disk
from tests.helpers.disk_files import file_on_disk
from tests.helpers.store_fakes import filled, store_of
from vitrine.data.feature_store import FeatureTable, read_ahead

ORDERS = {
    "in order": torch.arange(43),
    "backwards": torch.arange(42, -1, -1),
    "shuffled": torch.randperm(43, generator=torch.Generator().manual_seed(0)),
}


@pytest.mark.parametrize("fits", [True, False])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("batch_size", [1, 5, 43])
def test_the_same_rows_come_whatever_fits(tmp_path: Path, fits: bool, order: str, batch_size: int) -> None:
    table = FeatureTable(filled(store_of(tmp_path, 43)).folder, fits_memory=fits)
    batches = [table.batch(rows) for rows in torch.split(ORDERS[order], batch_size)]
    assert torch.cat([batch["features"][:, 0] for batch in batches]).tolist() == ORDERS[order].tolist()
    assert torch.cat([batch["logits"][:, 1] for batch in batches]).tolist() == (-ORDERS[order]).tolist()
    assert [key for batch in batches for key in batch["key"]] == [f"sample {row}" for row in ORDERS[order].tolist()]


def test_it_works_without_the_systems_help(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "_madvise", None)
    table = FeatureTable(filled(store_of(tmp_path, 43)).folder, fits_memory=False)
    assert table.batch(ORDERS["shuffled"])["label"].tolist() == ORDERS["shuffled"].tolist()


@pytest.fixture
def advice(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """Address, length and kind of what the system was told."""
    told: list[tuple[int, int, int]] = []
    monkeypatch.setattr(read_ahead, "_madvise", lambda *of: told.append(of))
    return told


def test_rows_of_a_store_that_does_not_fit_are_asked_for_at_once(tmp_path: Path, advice: list[Any]) -> None:
    table = FeatureTable(filled(store_of(tmp_path, 43)).folder, fits_memory=False)
    table.batch(torch.tensor([9, 2, 9]))
    kinds = [kind for _, _, kind in advice]
    assert kinds.count(mmap.MADV_RANDOM) == 2 * 2  # features and logits of two chunks
    assert kinds.count(mmap.MADV_WILLNEED) == 2 * 2 + 3 * 2  # their keys and labels, and each row's features and logits
    assert all(address % mmap.PAGESIZE == 0 and 0 < length <= mmap.PAGESIZE for address, length, _ in advice)


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the chunks that are asked for as a whole."""
    asked: list[int] = []
    monkeypatch.setattr(
        "vitrine.data.feature_store.table.read_whole", lambda paths: asked.extend(int(one.stem[-6:]) for one in paths)
    )
    return asked


def test_in_order_chunks_are_asked_for_ahead_and_each_once(
    tmp_path: Path, whole: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitrine.data.feature_store.table.AHEAD_BYTES", 1)
    table = FeatureTable(filled(store_of(tmp_path, 43)).folder, fits_memory=False)
    for _ in range(2):  # in the second epoch anew, as the pages may be gone
        whole.clear()
        for rows in torch.split(torch.arange(43), 2):
            table.batch(rows)
            ahead = min(int(rows[-1]) // 4 + 1, 10)
            assert whole == list(range(ahead + 1))


def test_a_store_that_fits_is_asked_for_once(tmp_path: Path, whole: list[int]) -> None:
    table = FeatureTable(filled(store_of(tmp_path, 43)).folder, fits_memory=True)
    for rows in (torch.tensor([40, 1]), torch.arange(43), torch.arange(43)):
        table.batch(rows)
    assert sorted(whole) == list(range(11))


def test_a_chunk_of_single_rows_is_mapped_anew_in_order(tmp_path: Path, advice: list[Any]) -> None:
    table = FeatureTable(filled(store_of(tmp_path, 8)).folder, fits_memory=False)
    table.batch(torch.tensor([3, 0]))
    mapped = table._open[0]
    table.batch(torch.arange(4))
    assert table._open[0] is not mapped
    advice.clear()
    table.batch(torch.tensor([3, 0]))
    assert [kind for *_, kind in advice].count(mmap.MADV_RANDOM) == 2


def test_all_chunks_of_single_rows_are_mapped_anew_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitrine.data.feature_store.table.AHEAD_BYTES", 1)
    table = FeatureTable(filled(store_of(tmp_path, 43)).folder, fits_memory=False)
    table.batch(torch.arange(42, -1, -1))
    before = dict(table._open)
    assert len(before) > 5
    for first in range(0, 42, 2):
        table.batch(torch.arange(first, first + 2))
    assert [number for number, chunk in table._open.items() if chunk is before.get(number)] == []


def test_files_that_are_asked_for_come_into_memory(tmp_path: Path) -> None:
    path = file_on_disk(tmp_path / "file", 2**22)
    store_disk.evict([path])
    assert store_disk.resident_share([path]) == 0
    read_ahead.read_whole([path, tmp_path / "gone"])
    for _ in range(600):
        if store_disk.resident_share([path]) == 1:
            return
        time.sleep(0.1)
    pytest.fail("the file was not read")


def test_whether_a_store_fits_follows_from_what_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = filled(store_of(tmp_path, 43)).folder
    for free, fits in ((10_000_000, True), (None, True), (100, False)):
        monkeypatch.setattr("vitrine.data.feature_store.table.free_bytes", lambda _, free=free: free)
        assert FeatureTable(folder).fits_memory is fits
