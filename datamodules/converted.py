"""Data sets whose shards are made once from the folder that the official archive unpacks to."""

from abc import abstractmethod
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities import rank_zero_info
from typing_extensions import override

from datamodules.base import ShardDataModule
from datamodules.split_sources import ShardsOption, is_set_folder
from vitrine.data.shards.converter import SampleSet, write_set
from vitrine.data.shards.converters.split_folders import SPLITS
from vitrine.data.shards.schema import INDEX_FILE


class ConvertedDataModule(ShardDataModule):
    """Shards, made from ``root`` where they are not there.

    Args:
        shards: folder of the shards, as in `ShardDataModule`.
        root: the raw data set, or None where the shards are there.
        kwargs: further options of `ShardDataModule`.
    """

    def __init__(self, shards: ShardsOption, root: str | Path | None = None, **kwargs: Any) -> None:
        super().__init__(shards, **kwargs)
        self.root = None if root is None else Path(root)

    def raw_folder(self, split: str) -> Path | None:  # noqa: ARG002 - for sets that come from several folders
        """The raw data set that a split is made from."""
        return self.root

    @abstractmethod
    def list_split(self, root: Path, split: str) -> SampleSet | None:
        """The samples of a split of the raw data set; None for one that it does not have."""

    @override
    def prepare_data(self) -> None:
        if not is_set_folder(self.shards):
            return
        for split in SPLITS:
            raw = self.raw_folder(split)
            if raw is None or not raw.is_dir() or (self.shards / split / INDEX_FILE).is_file():
                continue
            listed = self.list_split(raw, split)
            if listed is not None:
                # Another node or run may have written them since.
                write_set(listed, self.shards / split, shard_size=1000, workers=None, seed=0, reuse=True)
                for note in listed.notes:
                    rank_zero_info(f"{self.shards / split}: {note}")
