import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vitrine.core.batch import Batch, Features
from vitrine.data.feature_store import KEY_BYTES, FeatureStore

FACTS = {"features": "weights layer4 average", "preprocessing": "224", "shards": "aa bb"}
CPU = torch.device("cpu")


class Sums:
    key = "sums"

    def __call__(self, images: Tensor) -> Features:
        return Features(features=images.flatten(1)[:, :4].double(), logits=images.flatten(1)[:, :2].half())


def batch_of(rows: list[int], key: str = "sample", labels: Tensor | None = None) -> Any:
    images = torch.arange(20.0).reshape(-1, 1, 1, 1).expand(20, 3, 2, 2)[rows]
    label = torch.tensor(rows) if labels is None else labels[rows]
    return Batch(key=[f"{key} {row}" for row in rows], image=images, label=label) | {"row": torch.tensor(rows)}


def filled(store: FeatureStore, *rows: list[int], labels: Tensor | None = None) -> FeatureStore:
    store.allocate(4, 2, () if labels is None else tuple(labels.shape[1:]))
    store.fill([batch_of(part, labels=labels) for part in rows], Sums(), CPU)
    return store


def test_rows_come_back_in_the_order_asked_for(tmp_path: Path) -> None:
    store = filled(FeatureStore(tmp_path, FACTS, 5), [4, 0], [2, 1], [3])
    assert not store.is_complete
    store.finish(samples="train")
    assert store.is_complete
    table = store.read()
    batch = table.batch(torch.tensor([3, 0, 3]))
    assert len(table) == 5
    assert batch["key"] == ["sample 3", "sample 0", "sample 3"]
    assert batch["features"].tolist() == [[3.0] * 4, [0.0] * 4, [3.0] * 4]
    assert batch["logits"].tolist() == [[3.0] * 2, [0.0] * 2, [3.0] * 2]
    assert batch["label"].tolist() == [3, 0, 3]
    types = [batch[name].dtype for name in ("features", "logits", "label")]
    assert types == [torch.float32, torch.float32, torch.int64]
    batch["features"].zero_()
    assert table.batch(torch.tensor([3]))["features"].tolist() == [[3.0] * 4]


def test_multi_hot_labels_are_kept(tmp_path: Path) -> None:
    labels = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    store = filled(FeatureStore(tmp_path, FACTS, 2), [0, 1], labels=labels)
    assert torch.equal(store.read().batch(torch.tensor([0, 1]))["label"], labels)


def test_several_processes_fill_their_own_rows(tmp_path: Path) -> None:
    first, second = FeatureStore(tmp_path, FACTS, 4), FeatureStore(tmp_path, FACTS, 4)
    filled(first, [0, 2])
    assert second.missing_samples().tolist() == [False, True, False, True]
    filled(second, [3, 1])  # allocates again, which leaves what is there
    assert not first.missing_samples().any()
    first.finish(samples="train")
    assert second.read().batch(torch.arange(4))["label"].tolist() == [0, 1, 2, 3]


def test_what_was_computed_before_a_breakdown_counts(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, FACTS, 4)
    assert store.missing_samples().all()
    store.allocate(4, 2, ())

    def breaking() -> Any:
        yield batch_of([1])
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        store.fill(breaking(), Sums(), CPU)
    assert store.missing_samples().tolist() == [True, False, True, True]
    assert not store.is_complete


def test_missing_samples_are_told_with_the_split(tmp_path: Path) -> None:
    store = filled(FeatureStore(tmp_path, FACTS, 5), [0, 1, 3])
    with pytest.raises(
        ValueError,
        match=r"^2 of 5 samples of data/train have no features, the first is sample 2; run .* data/train\.$",
    ):
        store.finish(samples="data/train")
    assert not store.is_complete


@pytest.mark.parametrize("name", sorted(FACTS))
def test_whatever_features_depend_on_names_another_folder(tmp_path: Path, name: str) -> None:
    folder = FeatureStore(tmp_path, FACTS, 5).folder
    assert FeatureStore(tmp_path, dict(reversed(FACTS.items())), 5).folder == folder
    assert FeatureStore(tmp_path, FACTS | {name: "other"}, 5).folder != folder


def test_the_manifest_says_what_a_store_holds(tmp_path: Path) -> None:
    store = filled(FeatureStore(tmp_path, FACTS, 1), [0])
    store.finish(samples="train")
    assert json.loads((store.folder / "manifest.json").read_text()) == {**FACTS, "rows": 1}
    names = {"features.npy", "logits.npy", "labels.npy", "keys.npy", "done.npy", "manifest.json"}
    assert {path.name for path in store.folder.iterdir()} == names


def test_keys_are_never_cut(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, FACTS, 2)
    store.allocate(4, 2, ())
    longest = "é" * ((KEY_BYTES - 2) // 2)
    store.fill([batch_of([0], longest)], Sums(), CPU)
    assert store.read().batch(torch.tensor([0]))["key"] == [f"{longest} 0"]
    with pytest.raises(ValueError, match=rf"key {longest}é 1 is longer than {KEY_BYTES} bytes"):
        store.fill([batch_of([1], f"{longest}é")], Sums(), CPU)
    assert store.missing_samples().tolist() == [False, True]


def test_a_table_maps_its_files(tmp_path: Path) -> None:
    store = filled(FeatureStore(tmp_path, FACTS, 1), [0])
    table = store.read()
    assert isinstance(table.features.base, np.memmap)
    assert not table.features.flags.writeable
