"""Checks of chunks, and when a store was last used."""

import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from tests.helpers.store_fakes import DEPENDS_ON, content_of, filled, flip_byte, store_of
from vitrine.data.feature_store import FeatureStore
from vitrine.data.feature_store.checking import damaged_chunks, last_used, mark_used, remove_leftovers
from vitrine.data.feature_store.chunk_file import encode_chunk


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


CHUNK = "chunk-000002.safetensors"
Damage = Callable[[FeatureStore], object]


def file(change: Callable[[bytes], bytes]) -> Damage:
    """Changes the bytes of a chunk."""
    return lambda store: (store.folder / CHUNK).write_bytes(change((store.folder / CHUNK).read_bytes()))


def tensors(change: Callable[[dict[str, Any]], dict[str, Any]], origin: str = "") -> Damage:
    """Writes a chunk anew, with a right checksum."""

    def damage(store: FeatureStore) -> None:
        found = load((store.folder / CHUNK).read_bytes())
        keys = [bytes(row.tolist()).rstrip(b"\0").decode() for row in found.pop("keys")]
        told = origin or store.manifest.origin_of(2, store.folder.name)
        (store.folder / CHUNK).write_bytes(encode_chunk(change(found), keys, told))

    return damage


def one(name: str, value: float) -> Damage:
    """One number of a tensor."""

    def change(found: dict[str, Any]) -> dict[str, Any]:
        found[name].view(-1)[1] = value
        return found

    return tensors(change)


def foreign(store: FeatureStore) -> None:
    """The chunk of another network's store, which has the same shapes."""
    other = filled(FeatureStore(store.folder.parent, DEPENDS_ON | {"features": "other weights"}, 43))
    (store.folder / CHUNK).write_bytes((other.folder / CHUNK).read_bytes())


DAMAGES: dict[str, Damage] = {
    "empty": file(lambda _: b""),
    "zeros": file(lambda data: bytes(len(data))),
    "zeros in the middle": file(lambda data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2)),
    "truncated": file(lambda data: data[:-1]),
    "longer": file(lambda data: data + b"0"),
    "text": file(lambda _: b"hello" * 99),
    "huge header": file(lambda data: b"\xff" * 8 + data[8:]),
    "header without sum": file(lambda data: data.replace(b'"chunk":', b'"chank":')),
    "written by another program": file(lambda data: save({**load(data), "logits": torch.ones(4, 2)})),
    "swapped": lambda store: (store.folder / CHUNK).write_bytes(
        (store.folder / "chunk-000001.safetensors").read_bytes()
    ),
    "of other weights": foreign,
    "of other rows": tensors(lambda found: found, "other rows 8 to 11"),
    "NaN in features": one("features", float("nan")),
    "infinite features": one("features", float("inf")),
    "NaN in logits": one("logits", float("nan")),
    "fewer features": tensors(lambda found: found | {"features": found["features"][:, :3].contiguous()}),
    "more logits": tensors(lambda found: found | {"logits": found["logits"].repeat(1, 2)}),
    "fewer rows": tensors(lambda found: {name: tensor[:3] for name, tensor in found.items()}),
    "features of another type": tensors(lambda found: found | {"features": found["features"].half()}),
    "labels of several classes": tensors(lambda found: found | {"labels": torch.zeros(4, 2)}),
    "no logits": tensors(lambda found: {name: found[name] for name in ("features", "labels")}),
    "gone": lambda store: (store.folder / CHUNK).unlink(),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_chunk_is_computed_again(tmp_path: Path, name: str) -> None:
    store = filled(store_of(tmp_path, 43))
    expected = content_of(store)
    assert store.missing_chunks() == []
    DAMAGES[name](store)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert store.missing_chunks() == [2]
        filled(store)
    assert name == "gone" or "chunk-000002.safetensors" in str(told[0].message)
    assert content_of(store) == expected


def manifest(summed: bool = True, **changes: Any) -> Damage:
    """Edits the manifest, with a right checksum or without."""

    def damage(store: FeatureStore) -> None:
        path = store.folder / "manifest.json"
        entries = {**json.loads(path.read_text()), **changes}
        del entries["sha256"]
        digest = hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest() if summed else "0" * 64
        path.write_text(json.dumps({**entries, "sha256": digest}))

    return damage


def text(content: bytes) -> Damage:
    return lambda store: (store.folder / "manifest.json").write_bytes(content)


MANIFESTS: dict[str, Damage] = {
    "empty": text(b""),
    "zeros": text(bytes(99)),
    "list": text(b"[]"),
    "null": text(b"null"),
    "deep": text(b"[" * 200_000),
    "bytes": text(b"\xff\xfe"),
    "long number": text(b'{"rows": ' + b"1" * 5000 + b"}"),
    "no sum": manifest(summed=False),
    "fewer rows": manifest(rows=40),
    "rows of text": manifest(rows="43"),
    "rows true": manifest(rows=True),
    "no chunk rows": manifest(chunk_rows=0),
    "negative width": manifest(width=-4),
    "type": manifest(dtype="int8"),
    "other type": manifest(dtype="float16"),
    "foreign": manifest(depends_on={"features": "other"}),
    "depends on a list": manifest(depends_on=[]),
    "label shape": manifest(label_shape=["2"]),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_damaged_manifest_is_written_again_and_whole_chunks_kept(tmp_path: Path, name: str) -> None:
    store = filled(store_of(tmp_path, 43))
    expected = content_of(store)
    MANIFESTS[name](store)
    assert not store.exists
    assert store.n_stored == 0
    store.create(4, 2, (), chunk_rows=4)
    assert store.exists
    assert store.missing_chunks() == []
    assert content_of(store) == expected


@pytest.mark.parametrize(("name", "value"), [("width", 5), ("classes", 3), ("label_shape", [2]), ("chunk_rows", 5)])
def test_chunks_that_are_not_as_a_manifest_says_are_never_read(tmp_path: Path, name: str, value: Any) -> None:
    store = filled(store_of(tmp_path, 43))
    manifest(**{name: value})(store)
    assert set(damaged_chunks(store.folder)) >= {0, 1, 2}
    with pytest.raises((ValueError, FileNotFoundError), match=r"chunk-.*fit"):
        FeatureStore.read(store).batch(torch.arange(43))
