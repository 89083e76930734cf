"""Feature stores: whole or visibly not, by any number of writers, and never another's content."""

import multiprocessing
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers import store_fakes as fakes
from tests.helpers.store_fakes import DEPENDS_ON, Sums, content_of, filled, store_of
from vitrine.data.feature_store import FeatureStore, store
from vitrine.data.feature_store.manifest import FeatureType, read_manifest

FORK = multiprocessing.get_context("fork")


def started(*shares: tuple[Any, ...]) -> list[Any]:
    processes = [FORK.Process(target=fakes.fill_share, args=share) for share in shares]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_rows_come_back_in_every_type(tmp_path: Path, dtype: FeatureType) -> None:
    store = store_of(tmp_path, 11, dtype=dtype)
    assert not store.exists
    store = filled(store)
    assert store.exists
    batch = store.read().batch(torch.tensor([10, 0, 10, 5]))
    assert batch["key"] == ["sample 10", "sample 0", "sample 10", "sample 5"]
    assert batch["features"].tolist() == [[value] * 4 for value in (10.0, 0.0, 10.0, 5.0)]
    assert batch["logits"].tolist() == [[-value] * 2 for value in (10.0, 0.0, 10.0, 5.0)]
    assert batch["label"].tolist() == [10, 0, 10, 5]
    types = [batch[name].dtype for name in ("features", "logits", "label")]
    assert types == [torch.float32, torch.float32, torch.int64]


def test_multi_hot_labels_and_long_keys_are_kept(tmp_path: Path) -> None:
    labels = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    store = store_of(tmp_path, 2)
    store.create(4, 2, (3,))
    batch = fakes.batch_of([0, 1], labels)
    batch["key"] = ["é" * 500, "b"]
    store.fill([0], [batch], Sums(), fakes.CPU)
    read = store.read().batch(torch.tensor([1, 0]))
    assert torch.equal(read["label"], labels.flip(0))
    assert read["key"] == ["b", "é" * 500]


def test_missing_chunks_alone_are_computed(tmp_path: Path) -> None:
    store = filled(store_of(tmp_path, 11), [1])
    assert store.missing_chunks() == [0, 2]
    with pytest.raises(FileNotFoundError, match=r"chunk-000000.*fit"):
        store.read()
    extractor = Sums()
    filled(store, extractor=extractor)
    assert extractor.images == 7
    assert store.missing_chunks() == []


@pytest.mark.parametrize("writers", [2, 3])
def test_content_is_the_same_for_any_number_of_writers(tmp_path: Path, writers: int) -> None:
    one = filled(store_of(tmp_path / "one", 43))
    many = store_of(tmp_path / "many", 43)
    many.create(4, 2, (), chunk_rows=4)
    chunks = many.missing_chunks()
    for rank in reversed(range(writers)):
        filled(many, chunks[rank::writers])
    assert content_of(one) == content_of(many)


def test_a_killed_writer_leaves_whole_chunks_that_are_not_computed_again(tmp_path: Path) -> None:
    assert started((str(tmp_path), 43, 0, 1, 22)) == [-signal.SIGKILL]
    store = store_of(tmp_path, 43)
    missing = store.missing_chunks()
    assert missing[-6:] == list(range(5, 11))
    assert missing[:-6] in ([], [4])  # which was on its way to the disk
    assert list(store.folder.glob(".chunk-000005.partial-*"))  # which counts for nothing
    extractor = Sums()
    filled(store, extractor=extractor)
    assert extractor.images == 43 - 4 * (11 - len(missing))
    assert content_of(store) == content_of(filled(store_of(tmp_path / "whole", 43)))


def test_racing_writers_leave_a_whole_store(tmp_path: Path) -> None:
    expected = content_of(filled(store_of(tmp_path / "whole", 43)))
    for round_number in range(10):
        cache = tmp_path / str(round_number)
        assert started(*[(str(cache), 43, 0, 1, None)] * 2) == [0, 0]
        store = store_of(cache, 43)
        assert store.missing_chunks() == []
        assert content_of(store) == expected


@pytest.mark.parametrize("damage", ["flipped", "truncated", "emptied", "swapped"])
def test_damaged_chunks_are_told_and_computed_again(tmp_path: Path, damage: str) -> None:
    store = filled(store_of(tmp_path, 43))
    expected, path = content_of(store), store.folder / "chunk-000007.safetensors"
    assert store.missing_chunks() == []
    data = path.read_bytes()
    if damage == "flipped":
        fakes.flip_byte(path, 300)
    elif damage == "swapped":
        path.write_bytes(expected["chunk-000006.safetensors"])
    else:
        path.write_bytes(data[:-1] if damage == "truncated" else b"")
    with pytest.warns(UserWarning, match=r"1 damaged chunks .* chunk-000007\.safetensors"):
        assert store.missing_chunks() == [7]
    with pytest.warns(UserWarning, match="chunk-000007"):
        filled(store)
    assert content_of(store) == expected


def test_chunks_are_read_for_their_checksum_once_until_they_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(store_of(tmp_path, 43))
    assert store.missing_chunks() == []
    read: list[Path] = []
    monkeypatch.setattr("vitrine.data.feature_store.checking.chunk_damage", lambda path, _: read.append(path))
    assert store.missing_chunks() == []
    assert not read
    path = store.folder / "chunk-000003.safetensors"
    path.write_bytes(path.read_bytes())
    assert store.missing_chunks() == []
    assert read == [path]


def test_an_error_of_writing_stops_the_pass_and_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, _: bytes) -> None:
        raise ValueError(f"The disk of {path.parent} is full")

    monkeypatch.setattr("vitrine.data.feature_store.store.write_reserved", full)
    extractor = Sums()
    with pytest.raises(ValueError, match="is full"):
        filled(store_of(tmp_path, 43), extractor=extractor)
    assert extractor.images == 8  # of the next chunk, which was computed meanwhile
    assert not list(tmp_path.rglob("*chunk-*"))


@pytest.mark.parametrize("name", sorted(DEPENDS_ON))
def test_whatever_features_depend_on_names_another_folder(tmp_path: Path, name: str) -> None:
    folder = store_of(tmp_path, 5).folder
    assert FeatureStore(tmp_path, dict(reversed(DEPENDS_ON.items())), 5).folder == folder
    assert FeatureStore(tmp_path, DEPENDS_ON | {name: "other"}, 5).folder != folder
    assert store_of(tmp_path, 5, dtype="float16").folder != folder


def test_another_version_of_the_extraction_names_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = store_of(tmp_path, 5).folder
    monkeypatch.setattr(store, "EXTRACTION_VERSION", 1000)
    assert store_of(tmp_path, 5).folder != folder


def test_a_damaged_manifest_is_written_again_and_chunks_are_kept(tmp_path: Path) -> None:
    store = filled(store_of(tmp_path, 11))
    path = store.folder / "manifest.json"
    path.write_text(path.read_text().replace('"chunk_rows": 4', '"chunk_rows": 8'))
    with pytest.raises(ValueError, match=r"manifest\.json is damaged"):
        read_manifest(store.folder)
    extractor = Sums()
    filled(store, extractor=extractor)
    assert extractor.images == 0
    assert store.missing_chunks() == []


def test_chunks_that_a_full_disk_has_no_room_for_are_told_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(store_of(tmp_path, 11), [0])
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 999}))
    with pytest.raises(ValueError, match=rf"{store.folder} .* 1\.\d+ kB .* 999 B are free; .*features\.folder"):
        store.check_space([1, 2])
