"""Boxes of VOC come out of the shards with their classes and flags, and measure what they should."""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from datamodules import VOCDataModule
from datamodules.options import LoadingOptions
from datamodules.samples import collate
from tests.helpers import shard_fakes as fakes
from vitrine.core.batch import Batch, repeat_per_class
from vitrine.core.explanation import Explanation
from vitrine.data.preprocessing import Preprocessing
from vitrine.data.shards.converters.voc import CLASSES
from vitrine.metrics import PointingGame

WHOLE = Preprocessing(size=24, resize=None)
CAT, DOG, PERSON = (CLASSES.index(name) for name in ("cat", "dog", "person"))


def voc(shards: Path, root: Path | None, preprocessing: Preprocessing = WHOLE, batch_size: int = 4) -> VOCDataModule:
    data = VOCDataModule(shards, root, preprocessing=preprocessing, loading=LoadingOptions(batch_size, num_workers=0))
    data.prepare_data()
    return data


def by_key(data: VOCDataModule) -> dict[str, dict[str, torch.Tensor]]:
    """The annotation of each test image."""
    data.setup("test")
    names = ("label", "boxes", "box_labels", "box_difficult")
    batches: Iterable[Any] = data.test_dataloader()
    return {
        key: {name: batch[name][row] for name in names} for batch in batches for row, key in enumerate(batch["key"])
    }


def test_train_is_the_official_trainval(voc_root: Path, tmp_path: Path) -> None:
    data = voc(tmp_path / "shards", voc_root)
    before = {path: path.stat().st_mtime_ns for path in data.shards.rglob("*")}
    data.prepare_data()
    assert {path: path.stat().st_mtime_ns for path in data.shards.rglob("*")} == before
    data.setup("fit")
    assert {name: split.index.count for name, split in data.splits.items()} == {"train": 5, "test": 5}
    assert data.multi_label
    assert data.annotations == {"boxes"}
    assert data.classes == list(CLASSES)


@pytest.mark.parametrize(
    ("absent", "splits"),
    [
        (["trainval"], {"train": 3, "val": 2, "test": 5}),
        (["trainval", "val"], {"train": 3, "test": 5}),
        (["train", "val", "trainval"], {"test": 5}),
        (["test", "train"], {"train": 5}),
    ],
)
def test_a_split_without_its_list_is_none(
    absent: list[str], splits: dict[str, int], voc_root: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(voc_root, tmp_path / "VOCdevkit"))
    for name in absent:
        (root / "VOC2007" / "ImageSets" / "Main" / f"{name}.txt").unlink()
    data = voc(tmp_path / "shards", root / "VOC2007")
    data.setup("fit")
    assert {name: split.index.count for name, split in data.splits.items()} == splits


def test_without_root_and_shards_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"python -m vitrine\.shards voc --root VOCdevkit --split trainval --out"
    ):
        voc(tmp_path / "shards", None).setup("fit")


def test_boxes_come_with_classes_and_flags(voc_root: Path, tmp_path: Path) -> None:
    found = by_key(voc(tmp_path / "shards", voc_root))
    assert found["000006"]["label"].nonzero().flatten().tolist() == [CAT, DOG]
    torch.testing.assert_close(found["000006"]["boxes"][2], torch.tensor([0, 23 / 36 * 24, 4.5, 35 / 36 * 24]))
    assert found["000006"]["box_labels"].tolist() == [DOG, CAT, DOG]
    assert found["000006"]["box_difficult"].tolist() == [False, False, True]
    assert found["000007"]["boxes"].shape == (0, 4)
    assert found["000007"]["box_labels"].shape == found["000007"]["box_difficult"].shape == (0,)
    assert {annotation["box_labels"].dtype for annotation in found.values()} == {torch.int64}
    assert {annotation["box_difficult"].dtype for annotation in found.values()} == {torch.bool}


def test_a_crop_takes_classes_away_with_their_boxes(voc_root: Path, tmp_path: Path) -> None:
    crop = Preprocessing(size=18, resize=36)  # columns 15 to 33, rows 9 to 27
    found = by_key(voc(tmp_path / "shards", voc_root, crop))
    assert found["000006"]["box_labels"].tolist() == [DOG, CAT]
    assert found["000010"]["box_labels"].tolist() == [PERSON, DOG]
    assert found["000008"]["box_labels"].tolist() == [PERSON]
    assert found["000008"]["boxes"].tolist() == [[0, 0, 1, 18]]


def test_training_batches_keep_boxes_and_classes_together(voc_root: Path, tmp_path: Path) -> None:
    data = voc(tmp_path / "shards", voc_root, Preprocessing(size=12, resize=12))
    data.loading = replace(data.loading, augment=True)
    data.setup("fit")
    for batch in data.train_dataloader():
        for boxes, labels, flags in zip(batch["boxes"], batch["box_labels"], batch["box_difficult"], strict=True):
            assert len(boxes) == len(labels) == len(flags)


def test_sets_of_one_class_an_image_have_no_box_labels(flower_shards: Path) -> None:
    data = fakes.module_of(flower_shards)
    data.setup("test")
    assert not {"box_labels", "box_difficult"} & next(iter(data.test_dataloader())).keys()


def test_repeat_per_class() -> None:
    labels = torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    images = torch.arange(3.0)[:, None, None, None].expand(3, 3, 2, 2)
    boxes = [torch.full((count, 4), float(count)) for count in (2, 0, 1)]
    samples = [{"key": str(row), "image": images[row], "label": labels[row], "boxes": boxes[row]} for row in range(3)]
    repeated, classes = repeat_per_class(collate(samples))
    assert classes.tolist() == [1, 2, 0]
    assert repeated["key"] == ["0", "0", "2"]
    assert repeated["image"][:, 0, 0, 0].tolist() == [0, 0, 2]
    assert [len(found) for found in repeated["boxes"]] == [2, 2, 1]
    torch.testing.assert_close(repeated["label"], labels[[0, 0, 2]])


def explained_by_the_centre(batch: Batch) -> tuple[Explanation, Batch]:
    """Each class of each image, explained by a map that is highest in the middle."""
    repeated, classes = repeat_per_class(batch)
    side = repeated["image"].shape[-1]
    maps = torch.zeros(len(classes), 1, side, side)
    maps[..., side // 2, side // 2] = 1
    labels = [["centre"]] * len(classes)
    logits = torch.zeros(len(classes), len(CLASSES))
    return Explanation(maps, torch.ones(len(classes), 1), labels, classes, classes, logits), repeated


@pytest.mark.filterwarnings("ignore:Batches do not say how large")
def test_the_centre_in_the_pointing_game(real_data: Path, tmp_path: Path) -> None:
    """The difficult pairs are the published ones; the centre finds many objects, but few of the difficult ones.

    Zhang et al. give it 69.5 % and 42.6 % on the whole test set, within 15 pixels. In the box itself it finds fewer, and more
    where the pixels are those of a small input: a side of 225 has a pixel in the very middle.
    """
    folder = real_data / "VOCdevkit"
    data = voc(tmp_path / "shards", folder, Preprocessing(size=225, resize=None), batch_size=10)
    data.setup("test")
    inside, near, near_on_input = PointingGame(), PointingGame(15), PointingGame(15)
    for batch in data.test_dataloader():
        explanation, rows = explained_by_the_centre(batch)
        inside.update(explanation, rows)
        near.update(explanation, rows)
        without = {name: entry for name, entry in rows.items() if not name.startswith("source_")}
        near_on_input.update(explanation, cast(Batch, without))
    found = {name: float(value) for name, value in near.compute().items()}
    shares = [float(game.compute()["pointing_game"]) for game in (inside, near, near_on_input)]
    # The last is 66.7 % where a scaled box is not widened to the whole pixels that it touches.
    assert shares == pytest.approx([0.5695, 0.6308, 0.6829], abs=0.0005)
    listed = set((folder / "VOC2007" / "ImageSets" / "Main" / "test.txt").read_text().split())
    rows_of_list = (
        line.split() for line in (folder / "VOC2007" / "pointing_game_difficult.txt").read_text().splitlines()
    )
    published = sum(flags.count("1") for key, *flags in rows_of_list if key in listed)
    difficult = torch.cat(near.trials).reshape(-1, 3)[:, 2]
    assert difficult.sum() == published
    assert found["pointing_game/difficult"] == pytest.approx(0.426, abs=0.05)
    assert found["pointing_game"] > found["pointing_game/difficult"] + 0.15
    assert found["pointing_game/skipped"] == found["pointing_game/degenerate"] == 0


def test_halves_of_a_test_list(voc_root: Path, tmp_path: Path) -> None:
    """Each image of the list is tested by the half that has not trained on it."""
    keys = {}
    for half in ("first", "second"):
        data = VOCDataModule(tmp_path / half, voc_root, tested_half=half, preprocessing=WHOLE)
        data.prepare_data()
        data.setup("fit")
        assert {name: split.index.count for name, split in data.splits.items()}.keys() == {"train", "test"}
        keys[half] = set(by_key(VOCDataModule(tmp_path / half, None, preprocessing=WHOLE)))
    assert keys == {"first": {"000006", "000008", "000010"}, "second": {"000007", "000009"}}
    with pytest.raises(ValueError, match="tested_half is 'third'; give 'first' or 'second'"):
        VOCDataModule(tmp_path, voc_root, tested_half="third")  # type: ignore[arg-type]
