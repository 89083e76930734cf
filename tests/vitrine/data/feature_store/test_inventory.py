"""Which stores may go: those that no fit would read."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers import shard_fakes
from tests.helpers.store_fakes import DEPENDS_ON, filled, store_of
from vitrine.data.feature_store import FeatureStore
from vitrine.data.feature_store.inventory import list_stores, to_prune
from vitrine.data.shards.schema import parse_index


def store_with(tmp_path: Path, **belongs_to: str) -> FeatureStore:
    return filled(FeatureStore(tmp_path / "features", DEPENDS_ON, 11, belongs_to=belongs_to))


def reasons(cache: Path) -> list[str]:
    return [reason for _, reason in to_prune(list_stores(cache))]


def test_what_nothing_speaks_against_stays(tmp_path: Path) -> None:
    store_with(tmp_path, split="", weights="IMAGENET1K_V1")
    assert reasons(tmp_path / "features") == []
    store_with(tmp_path, split="https://somewhere/train")
    assert reasons(tmp_path / "features") == []


def test_lost_weights(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    weights.touch()
    store_with(tmp_path, weights=str(weights))
    assert reasons(tmp_path / "features") == []
    weights.unlink()
    assert reasons(tmp_path / "features") == [f"has lost its weights {weights}"]


def test_lost_and_replaced_shards(tmp_path: Path) -> None:
    split = shard_fakes.write_split(tmp_path / "set", "train", 6) / "train"
    shards = " ".join(shard.sha256 for shard in parse_index(split).shards)
    origin = {"split": str(split)}
    filled(FeatureStore(tmp_path / "features", DEPENDS_ON | {"shards": shards}, 11, belongs_to=origin))
    assert reasons(tmp_path / "features") == []
    shard_fakes.write_split(tmp_path / "other", "train", 7)
    (tmp_path / "other" / "train" / "index.json").replace(split / "index.json")
    assert reasons(tmp_path / "features") == [f"is of other shards than are in {split} now"]
    (split / "index.json").unlink()
    assert reasons(tmp_path / "features") == [f"has lost its shards in {split}"]


def test_an_earlier_extraction_may_go(tmp_path: Path) -> None:
    store = store_with(tmp_path)
    manifest = store.manifest
    replace(manifest, depends_on=manifest.depends_on | {"extraction": "0"}).write(store.folder)
    assert reasons(tmp_path / "features") == ["is of an earlier version"]


@pytest.mark.parametrize(("max_bytes", "kept"), [(10**6, 3), (0, 0)])
def test_what_was_not_used_for_longest_goes_first(tmp_path: Path, max_bytes: int, kept: int) -> None:
    import os

    cache = tmp_path / "features"
    for days, dtype in enumerate(("float32", "float16", "bfloat16")):
        store = filled(store_of(cache, 11, dtype=dtype))
        os.utime(store.folder / "manifest.json", (10**9 - 86400 * days,) * 2)
    stores = list_stores(cache)
    assert [store.manifest and store.manifest.dtype for store in stores] == ["float32", "float16", "bfloat16"]
    assert len(stores) - len(to_prune(stores, max_bytes=max_bytes)) == kept
    two = stores[0].size + stores[1].size
    assert [store for store, _ in to_prune(stores, max_bytes=two)] == stores[2:]
    assert len(to_prune(stores, older_than_days=1)) == 3
