"""Data sets whose shards are made once from the folder that the official archive unpacks to."""

from abc import abstractmethod
from pathlib import Path
from typing import Any

from typing_extensions import override

from datamodules.base import ShardDataModule
from vitrine.shards.converter import SampleSet, write_set
from vitrine.shards.folder import SPLITS
from vitrine.shards.schema import INDEX_FILE


class ConvertedDataModule(ShardDataModule):
    """Shards, made from ``root`` where they are not there.

    Args:
        shards: folder of the shards, as in `ShardDataModule`.
        root: the raw data set, or None where the shards are there.
        kwargs: further options of `ShardDataModule`.
    """

    def __init__(self, shards: str | Path, root: str | Path | None = None, **kwargs: Any) -> None:
        super().__init__(shards, **kwargs)
        self.root = None if root is None else Path(root)

    @abstractmethod
    def list_split(self, root: Path, split: str) -> SampleSet | None:
        """The samples of a split of the raw data set; None for one that it does not have."""

    @override
    def prepare_data(self) -> None:
        if self.root is None or not self.root.is_dir():
            return
        for split in SPLITS:
            missing = not (self.shards / split / INDEX_FILE).is_file()
            listed = self.list_split(self.root, split) if missing else None
            if listed is not None:
                write_set(listed, self.shards / split, shard_size=1000, workers=None, seed=0)
