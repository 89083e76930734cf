"""Data sets that are converted where their shards are absent: the remedy where there is nothing to convert."""

from pathlib import Path

import pytest
from typing_extensions import override

from datamodules import FolderDataModule, ImageNetDataModule, SaliencyDataModule, TinyImageNetDataModule
from datamodules.base import ShardDataModule
from tests.helpers.image_datamodules import OPTIONS, counts, ready
from vitrine.data.shards.converter import SampleSet, write_set

SETS = Path(__file__).parents[1] / "vitrine" / "data" / "shards" / "image_sets.py"


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        (ImageNetDataModule, "imagenet --root DIR --split val"),
        (TinyImageNetDataModule, "tiny-imagenet --root tiny-imagenet-200 --split val"),
        (SaliencyDataModule, "saliency --root DIR"),
    ],
)
def test_without_root_and_shards_the_remedy_is_named(kind: type[ShardDataModule], command: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"python -m vitrine\.shards {command} --out {tmp_path}/shards/test"):
        ready(kind(tmp_path / "shards"))


class OvertakenDataModule(FolderDataModule):
    """Another node writes each split while this one lists it."""

    @override
    def list_split(self, root: Path, split: str) -> SampleSet | None:
        listed = super().list_split(root, split)
        if listed is not None:
            write_set(listed, self.shards / split, shard_size=5, workers=0, seed=1)
        return listed


def test_what_another_node_has_written_meanwhile_is_read(class_folder: Path, tmp_path: Path) -> None:
    data = ready(OvertakenDataModule(tmp_path / "shards", class_folder, **OPTIONS), "fit")
    assert counts(data) == {"train": 12, "test": 4}
    assert data.splits["train"].index.shards[0].count == 5


def test_so_many_samples_of_a_split_are_taken_evenly(class_folder: Path, tmp_path: Path) -> None:
    whole = ready(FolderDataModule(tmp_path / "whole", class_folder, **OPTIONS))
    keys = sorted(key for batch in whole.test_dataloader() for key in batch["key"])
    few = FolderDataModule(tmp_path / "few", class_folder, at_most={"test": 2, "train": 99}, **OPTIONS)
    assert counts(ready(few)) == {"train": 12, "test": 2}
    assert {key for batch in few.test_dataloader() for key in batch["key"]} == {keys[0], keys[2]}
    ready(FolderDataModule(tmp_path / "few", class_folder, at_most={"test": 2, "train": 99}, **OPTIONS))
    with pytest.raises(ValueError, match=r"shards: .*few/test was made from"):
        ready(FolderDataModule(tmp_path / "few", class_folder, at_most={"test": 3}, **OPTIONS))
    for wrong in ({"tests": 2}, {"test": 0}):
        with pytest.raises(ValueError, match=r"at_most is .* give numbers of samples above 0"):
            FolderDataModule(tmp_path, class_folder, at_most=wrong, **OPTIONS)
