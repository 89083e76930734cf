"""Caltech-UCSD Birds-200-2011."""

from pathlib import Path
from typing import Any

from typing_extensions import override

from datamodules.converted import ConvertedDataModule
from datamodules.split_sources import ShardsOption
from vitrine.core.options import Count, checked
from vitrine.data.shards.converter import SampleSet
from vitrine.data.shards.converters.cub import list_cub


class CUBDataModule(ConvertedDataModule):
    """CUB with boxes and 15 parts.

    Args:
        shards: folder of the shards, as in `ShardDataModule`.
        root: the folder ``CUB_200_2011`` of the official archive, or None where the shards are there.
        train_per_class: training images of each class in place of the official split, see `list_cub`; 50 in Qi, Khorram and
            Li (2018).
        kwargs: further options of `ShardDataModule`.
    """

    @checked
    def __init__(
        self,
        shards: ShardsOption,
        root: str | Path | None = None,
        train_per_class: Count | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(shards, root, **kwargs)
        self.train_per_class = train_per_class

    @override
    def list_split(self, root: Path, split: str) -> SampleSet | None:
        return list_cub(root, split, self.train_per_class) if split in {"train", "test"} else None

    @override
    def how_to_make_shards(self) -> str:
        make = f"python -m vitrine.shards cub --root CUB_200_2011 --split train --out {self.shards}/train"
        return f"give the folder CUB_200_2011 as data.init_args.root ({self.root} is none), or make them with: {make}"
