"""ImageNet's datamodule: splits, boxes, and parts of the archive."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules import ImageNetDataModule
from tests.helpers import image_sets as sets
from tests.helpers.image_datamodules import OPTIONS, counts, ready
from vitrine.core.options import OptionError


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    return Path(sets.write_imagenet(tmp_path / "imagenet"))


def test_imagenets_test_is_the_official_validation_set(imagenet: Path, tmp_path: Path) -> None:
    blacklist = sets.write_text(imagenet / "blacklist.txt", "4\n")
    data = ready(ImageNetDataModule(tmp_path / "shards", imagenet, blacklist=blacklist, **OPTIONS))
    assert counts(data) == {"train": 6, "test": 3}
    assert data.annotations == {"boxes"}
    assert not data.multi_label
    before = {path: path.stat().st_mtime_ns for path in data.shards.rglob("*")}
    data.prepare_data()
    assert {path: path.stat().st_mtime_ns for path in data.shards.rglob("*")} == before
    found = {
        key: box for batch in data.test_dataloader() for key, box in zip(batch["key"], batch["boxes"], strict=True)
    }
    torch.testing.assert_close(found[sets.val_name(1)], torch.tensor([[0.0, 0, 24, 24]]))
    torch.testing.assert_close(found[sets.val_name(3)], torch.tensor([[10, 12, 12, 9 * 2.4]]))


@pytest.mark.parametrize(("per_class", "splits"), [(1, {"train": 3, "test": 4}), (0, {"test": 4})])
def test_a_part_of_imagenets_training_set(
    per_class: int, splits: dict[str, int], imagenet: Path, tmp_path: Path
) -> None:
    assert counts(ready(ImageNetDataModule(tmp_path / "shards", imagenet, per_class=per_class, **OPTIONS))) == splits


def test_imagenet_with_further_files(imagenet: Path, tmp_path: Path) -> None:
    shutil.move(imagenet / "ILSVRC" / "Annotations" / "CLS-LOC", tmp_path / "xml")
    truth = shutil.move(imagenet / "LOC_val_solution.csv", tmp_path / "truth.csv")
    files: dict[str, Any] = {"annotations": tmp_path / "xml", "ground_truth": truth}
    data = ready(ImageNetDataModule(tmp_path / "shards", imagenet, **files, **OPTIONS))
    assert counts(data) == {"train": 6, "test": 4}
    assert data.annotations == {"boxes"}


def test_imagenet_without_training_images(imagenet: Path, tmp_path: Path) -> None:
    shutil.rmtree(imagenet / "ILSVRC" / "Data" / "CLS-LOC" / "train")
    assert counts(ready(ImageNetDataModule(tmp_path / "shards", imagenet, **OPTIONS))) == {"test": 4}


def test_some_classes_of_imagenet(imagenet: Path, tmp_path: Path) -> None:
    data = ready(ImageNetDataModule(tmp_path / "shards", imagenet, classes=["n02012849", "n03126707"], **OPTIONS))
    assert counts(data) == {"train": 4, "test": 2}
    assert len(data.classes) == 2
    with pytest.raises(ValueError, match=r"shards.train was made .* its classes are others"):
        ready(ImageNetDataModule(tmp_path / "shards", imagenet, **OPTIONS))


def write_text_files(root: Path) -> None:
    sets.write_picture(root / "ILSVRC2012_val_00000021.JPEG", size=(20, 10))
    name = "val/ILSVRC2012_val_00000021.JPEG"
    for file, text in {"class_labels": "2", "image_sizes": "20,10", "localization": "0,0,9,4"}.items():
        sets.write_text(root / f"{file}.txt", f"{name},{text}\n")


@pytest.mark.parametrize(
    "options", [{"classes": ["n02012849"]}, {"blacklist": "b.txt"}, {"ground_truth": "t.txt"}, {"annotations": "xml"}]
)
def test_text_files_leave_no_room_for_options_of_the_archive(options: dict[str, Any], tmp_path: Path) -> None:
    write_text_files(tmp_path / "boxes")
    data = ImageNetDataModule(tmp_path / "shards", tmp_path / "boxes", **options, **OPTIONS)
    with pytest.raises(OptionError, match=rf"^{next(iter(options))} is .*; give null, .*localization\.txt"):
        data.prepare_data()


def test_the_text_files_of_localisation_sets_are_a_test_set(tmp_path: Path) -> None:
    root = tmp_path / "boxes"
    write_text_files(root)
    data = ready(ImageNetDataModule(tmp_path / "shards", root, **OPTIONS))
    assert counts(data) == {"test": 1}
    (batch,) = data.test_dataloader()
    assert batch["label"].tolist() == [2]
    torch.testing.assert_close(batch["boxes"][0], torch.tensor([[0.0, 0, 12, 12]]))
