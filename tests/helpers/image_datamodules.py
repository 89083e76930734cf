"""Datamodules of small image sets, made ready."""

from typing import Any

from datamodules.base import ShardDataModule
from datamodules.options import LoadingOptions
from vitrine.data.preprocessing import Preprocessing

OPTIONS: dict[str, Any] = {
    "preprocessing": Preprocessing(size=24, resize=None),
    "loading": LoadingOptions(batch_size=2, num_workers=0),
}


def ready(data: ShardDataModule, stage: str = "test") -> ShardDataModule:
    data.prepare_data()
    data.setup(stage)
    return data


def counts(data: ShardDataModule) -> dict[str, int]:
    return {name: split.index.count for name, split in data.splits.items()}
