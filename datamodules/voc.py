"""PASCAL VOC, with several labels an image."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from typing_extensions import override

from datamodules.converted import ConvertedDataModule
from datamodules.split_sources import ShardsOption
from vitrine.core.options import checked
from vitrine.data.shards.converter import SampleSet
from vitrine.data.shards.converters.voc import list_voc, split_list, year_folder


class VOCDataModule(ConvertedDataModule):
    """VOC with a box, class and difficult flag of each object; ``root`` is the folder VOCdevkit (2007), or a year's in it.

    ``train`` is the official trainval, and there is no ``val`` then; where only the official train is there, that and val.

    Args:
        shards: folder of the shards, as in `ShardDataModule`.
        root: the folder VOCdevkit, or None where the shards are there.
        tested_half: of a set whose list ``test`` is there alone: the half of it that is tested, every second image from the
            ``first`` or the ``second`` on; the other half is ``train``.
        kwargs: further options of `ShardDataModule`.

    Raises:
        OptionError: for options that make no sense.
    """

    @checked
    def __init__(
        self,
        shards: ShardsOption,
        root: str | Path | None = None,
        tested_half: Literal["first", "second"] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(shards, root, **kwargs)
        self.tested_half = tested_half

    @override
    def list_split(self, root: Path, split: str) -> SampleSet | None:
        folder = year_folder(root)
        if self.tested_half is not None:
            return self._half(folder, split) if split != "val" else None
        whole = split_list(folder, "trainval").is_file()
        official = {"train": "trainval", "val": None}.get(split, split) if whole else split
        return list_voc(folder, official) if official and split_list(folder, official).is_file() else None

    def _half(self, folder: Path, split: str) -> SampleSet:
        listed = list_voc(folder, "test")
        start = 0 if (self.tested_half == "first") == (split == "test") else 1
        return replace(listed, split=split, samples=listed.samples[start::2])

    @override
    def how_to_make_shards(self) -> str:
        make = f"python -m vitrine.shards voc --root VOCdevkit --split trainval --out {self.shards}/train"
        return f"give the folder VOCdevkit as data.init_args.root ({self.root} is none), or make them with: {make}"
