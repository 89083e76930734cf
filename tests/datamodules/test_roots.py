import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules import CUBDataModule, FlowerDataModule, FolderDataModule
from datamodules.options import LoadingOptions
from vitrine.data.preprocessing import Preprocessing

TINY = Preprocessing(size=8, resize=8)


@pytest.fixture
def bird_root(tmp_path: Path) -> Path:
    """Four images of two classes in the official layout; two are for training."""
    root = tmp_path / "CUB_200_2011"
    (root / "parts").mkdir(parents=True)
    (root / "classes.txt").write_text("1 001.Auk\n2 002.Bunting\n")
    (root / "parts" / "parts.txt").write_text("1 beak\n2 left eye\n")
    tables: dict[str, str] = dict.fromkeys(
        ["images.txt", "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt", "parts/part_locs.txt"],
        "",
    )
    for number in range(1, 5):
        kind = 2 - number % 2
        relative = f"{['001.Auk', '002.Bunting'][kind - 1]}/bird_{number}.jpg"
        (root / "images" / relative).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 20, 3), 60 * number, dtype=np.uint8)).save(root / "images" / relative)
        tables["images.txt"] += f"{number} {relative}\n"
        tables["image_class_labels.txt"] += f"{number} {kind}\n"
        tables["train_test_split.txt"] += f"{number} {int(number > 2)}\n"
        tables["bounding_boxes.txt"] += f"{number} 5.0 5.0 10.0 5.0\n"
        tables["parts/part_locs.txt"] += f"{number} 1 10.0 5.0 1\n{number} 2 0.0 0.0 0\n"
    for name, text in tables.items():
        (root / name).write_text(text)
    return root


def modified(shards: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in shards.rglob("*")}


def test_class_folders_are_converted_once(class_folder: Path, tmp_path: Path) -> None:
    data = FolderDataModule(
        tmp_path / "shards", class_folder, preprocessing=TINY, loading=LoadingOptions(num_workers=0)
    )
    data.prepare_data()
    before = modified(data.shards)
    data.prepare_data()
    assert modified(data.shards) == before
    data.setup("fit")
    assert data.classes == ["ant", "bee"]
    assert data.class_counts == [6, 6]
    assert data.train_count == 12
    assert not data.multi_label


def test_a_folder_without_an_index_is_converted(class_folder: Path, tmp_path: Path) -> None:
    data = FolderDataModule(
        tmp_path / "shards", class_folder, preprocessing=TINY, loading=LoadingOptions(num_workers=0)
    )
    (data.shards / "train").mkdir(parents=True)
    data.prepare_data()
    data.setup("fit")
    assert data.train_count == 12


def test_cub_is_converted_once_with_its_annotation(bird_root: Path, tmp_path: Path) -> None:
    data = CUBDataModule(tmp_path / "shards", bird_root, preprocessing=TINY, loading=LoadingOptions(num_workers=0))
    data.prepare_data()
    before = modified(data.shards)
    data.prepare_data()
    assert modified(data.shards) == before
    data.setup("test")
    assert data.classes == ["Auk", "Bunting"]
    assert data.annotations == {"boxes", "parts"}
    (batch,) = data.test_dataloader()
    assert [boxes.tolist() for boxes in batch["boxes"]] == [[[2.0, 2.0, 6.0, 4.0]]] * 2
    assert batch["parts"][:, 0].tolist() == [[4.0, 2.0, 1.0]] * 2
    assert batch["parts"][:, 1, 2].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("kind", [FolderDataModule, CUBDataModule])
def test_an_absent_root_does_not_matter_where_the_shards_are(
    kind: type[FolderDataModule | CUBDataModule], class_folder: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    shutil.copytree(class_folder, root)
    FolderDataModule(tmp_path / "shards", root).prepare_data()
    shutil.rmtree(root)
    for gone in (root, None):
        data = kind(tmp_path / "shards", gone)
        data.prepare_data()
        data.setup("fit")
        assert data.train_count == 12


def test_flowers_come_with_masks_and_boxes(flower_shards: Path) -> None:
    data = FlowerDataModule(
        flower_shards, preprocessing=Preprocessing(32, None), loading=LoadingOptions(3, num_workers=0)
    )
    data.setup("test")
    assert data.annotations == {"boxes", "mask"}
    batch = next(iter(data.test_dataloader()))
    assert batch["image"].shape == (3, 3, 32, 32)
    assert batch["mask"].shape == (3, 1, 32, 32)
    assert set(batch["mask"].unique().tolist()) == {0, 1}
    for mask, boxes in zip(batch["mask"], batch["boxes"], strict=True):
        ys, xs = np.nonzero(mask[0].numpy())
        x0, y0, x1, y1 = boxes[0].tolist()
        assert x0 - 1 <= xs.min() <= xs.max() <= x1 + 1
        assert y0 - 1 <= ys.min() <= ys.max() <= y1 + 1
