from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules.split import Split
from tests.helpers import shard_fakes as fakes


def panel(data: Any, count: int) -> Any:
    data.setup("predict")
    return data.panel(count)


def test_a_panel_takes_classes_in_turn_and_stays_the_same(few: Path) -> None:
    first = panel(fakes.module_of(few), 5)
    assert first["label"].tolist() == [0, 1, 2, 0, 1]
    assert first["image"].shape == (5, 3, 8, 8)
    for data in (fakes.module_of(few, seed=1), fakes.at(fakes.module_of(few), rank=1, world=2)):
        again = data.panel(5) if data.trainer else panel(data, 5)
        assert again["key"] == first["key"]
        assert torch.equal(again["image"], first["image"])


@pytest.mark.parametrize(("count", "labels"), [(2, [0, 1]), (8, [0, 1, 2, 0, 1, 2, 0, 1]), (500, None)])
def test_a_panel_of_any_size(few: Path, count: int, labels: list[int] | None) -> None:
    found = panel(fakes.module_of(few), count)
    assert len(set(found["key"])) == min(count, 11)
    assert labels is None or found["label"].tolist() == labels


@pytest.mark.parametrize(("count", "wanted"), [(2, 2), (6, 6), (100, 7)])
def test_a_panel_of_images_with_several_classes_or_none(tmp_path: Path, count: int, wanted: int) -> None:
    shards = fakes.write_split(tmp_path / "set", "test", 7, 3, multi_label=True)
    found = panel(fakes.module_of(shards), count)
    assert len(set(found["key"])) == wanted
    assert found["label"].shape == (wanted, 3)
    assert found["label"][:2].sum() > 0  # an image of each class comes first


def test_a_small_class_does_not_keep_a_panel_small(tmp_path: Path) -> None:
    shards = fakes.write_split(tmp_path / "set", "test", 4, classes=3)
    assert panel(fakes.module_of(shards), 4)["label"].tolist() == [0, 1, 2, 0]


def test_a_panel_decodes_what_it_shows_alone(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded, opened = [], []
    decode, read = Split.decode, Split.raw_samples

    def counted_decode(self: Split, raw: dict[str, Any]) -> dict[str, Any]:
        decoded.append(raw["__key__"])
        return decode(self, raw)

    def counted_read(self: Split, shard: int) -> Iterator[dict[str, Any]]:
        opened.append(shard)
        return read(self, shard)

    monkeypatch.setattr(Split, "decode", counted_decode)
    monkeypatch.setattr(Split, "raw_samples", counted_read)
    found = panel(fakes.module_of(many), 4)
    assert decoded == found["key"]
    assert len(opened) < 20


def test_without_test_images_a_panel_shows_those_to_predict(few: Path, tmp_path: Path) -> None:
    data = fakes.module_of(tmp_path / "none", predict_root=few.parent / "set_test_images")
    assert panel(data, 3)["key"] == ["image_000.png", "image_001.png", "image_002.png"]
    assert len(panel(data, 300)["key"]) == 11
    train_only = fakes.module_of(fakes.write_split(tmp_path / "set", "train", 6))
    assert panel(train_only, 3)["label"].tolist() == [0, 1, 2]
