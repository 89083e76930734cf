"""Tiny ImageNet's datamodule: labels of its own or those of a network."""

import shutil
from pathlib import Path

from datamodules import TinyImageNetDataModule
from tests.helpers import image_sets as sets
from tests.helpers.image_datamodules import OPTIONS, counts, ready


def test_tiny_imagenet(tmp_path: Path) -> None:
    root = sets.write_tiny_imagenet(tmp_path / "tiny-imagenet-200")
    own = ready(TinyImageNetDataModule(tmp_path / "own", root, **OPTIONS))
    assert counts(own) == {"train": 6, "test": 3}
    assert own.annotations == {"boxes"}
    wnids = [*sets.WNIDS, *(f"n099{number:05d}" for number in range(997))]
    names = sets.write_text(tmp_path / "wnids.txt", "\n".join(reversed(wnids)))
    imagenet = ready(
        TinyImageNetDataModule(tmp_path / "imagenet", root, class_index="imagenet", wnids=names, **OPTIONS)
    )
    assert len(imagenet.classes) == 1000
    by_key = [
        {key: int(label) for batch in data.test_dataloader() for key, label in zip(batch["key"], batch["label"], strict=True)}
        for data in (own, imagenet)
    ]  # fmt: skip
    assert by_key == [{"val_0": 2, "val_1": 1, "val_2": 0}, {"val_0": 0, "val_1": 1, "val_2": 2}]
    shutil.rmtree(root / "train")
    assert counts(ready(TinyImageNetDataModule(tmp_path / "again", root, **OPTIONS))) == {"test": 3}
