"""Any data set with one folder of images a class."""

from pathlib import Path

from typing_extensions import override

from datamodules.converted import ConvertedDataModule
from vitrine.data.shards.converter import SampleSet
from vitrine.data.shards.converters.folder import has_split, list_folder


class FolderDataModule(ConvertedDataModule):
    """Class folders; ``root`` holds ``train``, ``test`` and perhaps ``val``, or training and so on, each of class folders."""

    @override
    def list_split(self, root: Path, split: str) -> SampleSet | None:
        return list_folder(root, split) if has_split(root, split) else None

    @override
    def how_to_make_shards(self) -> str:
        make = f"python -m vitrine.shards folder --root DIR --split train --out {self.shards}/train"
        return f"give a folder with train/ and test/ as data.init_args.root ({self.root} has none), or make them with: {make}"
