"""Caltech-UCSD Birds-200-2011."""

from pathlib import Path

from typing_extensions import override

from datamodules.converted import ConvertedDataModule
from vitrine.data.shards.converter import SampleSet
from vitrine.data.shards.converters.cub import list_cub


class CUBDataModule(ConvertedDataModule):
    """CUB with boxes and 15 parts; ``root`` is the folder ``CUB_200_2011`` of the official archive."""

    @override
    def list_split(self, root: Path, split: str) -> SampleSet | None:
        return list_cub(root, split) if split in {"train", "test"} else None

    @override
    def how_to_make_shards(self) -> str:
        make = f"python -m vitrine.shards cub --root CUB_200_2011 --split train --out {self.shards}/train"
        return f"give the folder CUB_200_2011 as data.init_args.root ({self.root} is none), or make them with: {make}"
