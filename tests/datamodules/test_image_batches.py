"""Batches of images in a given order, whatever reads them."""

from pathlib import Path

import pytest

from datamodules.damaged import SkipCounter
from datamodules.epoch_order import EvaluationBatches
from datamodules.image_batches import ImageBatches
from datamodules.shard_images import ShardImages
from datamodules.split import Split
from tests.helpers.shard_fakes import TINY


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_workers_do_not_change_the_order(few: Path, workers: int) -> None:
    split = Split.read(few / "train")
    rows = split.every_sample().nonzero()[0][::-1]
    batches = ImageBatches(ShardImages(split, TINY), EvaluationBatches(rows, 5), workers, SkipCounter(), "val")
    for _ in range(2):
        assert [row for batch in batches for row in batch["row"].tolist()] == rows.tolist()
