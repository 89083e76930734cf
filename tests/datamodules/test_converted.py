"""Data sets that are converted where their shards are absent: the remedy where there is nothing to convert."""

from pathlib import Path

import pytest

from datamodules import ImageNetDataModule, SaliencyDataModule, TinyImageNetDataModule
from datamodules.base import ShardDataModule
from tests.helpers.image_datamodules import ready

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
