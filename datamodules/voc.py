"""PASCAL VOC, with several labels an image."""

from pathlib import Path

from typing_extensions import override

from datamodules.converted import ConvertedDataModule
from vitrine.data.shards.converter import SampleSet
from vitrine.data.shards.converters.voc import list_voc, split_list, year_folder


class VOCDataModule(ConvertedDataModule):
    """VOC with a box, class and difficult flag of each object; ``root`` is the folder VOCdevkit (2007), or a year's in it.

    ``train`` is the official trainval, and there is no ``val`` then; where only the official train is there, that and val.
    """

    @override
    def list_split(self, root: Path, split: str) -> SampleSet | None:
        folder = year_folder(root)
        whole = split_list(folder, "trainval").is_file()
        official = {"train": "trainval", "val": None}.get(split, split) if whole else split
        return list_voc(folder, official) if official and split_list(folder, official).is_file() else None

    @override
    def how_to_make_shards(self) -> str:
        make = f"python -m vitrine.shards voc --root VOCdevkit --split trainval --out {self.shards}/train"
        return f"give the folder VOCdevkit as data.init_args.root ({self.root} is none), or make them with: {make}"
