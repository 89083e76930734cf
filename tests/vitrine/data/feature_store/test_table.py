"""Feature tables: rows by random access over mapped chunks."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.store_fakes import filled, store_of
from vitrine.data.feature_store import FeatureTable


def test_rows_of_many_chunks_in_any_order(tmp_path: Path) -> None:
    table = FeatureTable(filled(store_of(tmp_path, 43)).folder)
    rows = torch.randperm(43, generator=torch.Generator().manual_seed(0))
    batch = table.batch(rows)
    assert len(table) == 43
    assert batch["features"][:, 3].tolist() == rows.tolist()
    assert batch["label"].tolist() == rows.tolist()
    assert batch["key"] == [f"sample {row}" for row in rows.tolist()]
    assert np.array_equal(table.labels, np.arange(43))
    assert table.batch(rows[:0])["features"].shape == (0, 4)


def test_a_batch_is_a_copy_and_the_file_stays(tmp_path: Path) -> None:
    table = FeatureTable(filled(store_of(tmp_path, 8)).folder)
    table.batch(torch.tensor([3]))["features"].zero_()
    assert table.batch(torch.tensor([3]))["features"].tolist() == [[3.0] * 4]


def test_no_more_chunks_stay_mapped_than_allowed(tmp_path: Path) -> None:
    folder = filled(store_of(tmp_path, 43)).folder
    table = FeatureTable(folder, max_open_chunks=2)
    assert table.batch(torch.arange(43))["label"].tolist() == list(range(43))
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(folder) in line]
    assert len(mapped) <= 2


def test_a_table_goes_to_another_process(tmp_path: Path) -> None:
    table = FeatureTable(filled(store_of(tmp_path, 8)).folder)
    table.batch(torch.tensor([3]))
    assert pickle.loads(pickle.dumps(table)).batch(torch.tensor([5]))["label"].tolist() == [5]


@pytest.mark.parametrize("row", [-1, 8])
def test_rows_that_are_none(tmp_path: Path, row: int) -> None:
    table = FeatureTable(filled(store_of(tmp_path, 8)).folder)
    with pytest.raises(IndexError, match=f"{row}.* 8 rows"):
        table.batch(torch.tensor([row]))


def test_a_chunk_that_is_removed_meanwhile(tmp_path: Path) -> None:
    store = filled(store_of(tmp_path, 8))
    table = FeatureTable(store.folder)
    (store.folder / "chunk-000001.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"chunk-000001\.safetensors .* gone; fit again"):
        table.batch(torch.tensor([5]))
