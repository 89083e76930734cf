"""Places365, tested on ADE20K, whose images have their objects outlined."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from datamodules.converted import ConvertedDataModule
from datamodules.split_sources import ShardsOption
from vitrine.core.options import Count, CountOrZero, checked
from vitrine.data.shards.converter import SampleSet
from vitrine.data.shards.converters.ade20k import list_ade20k
from vitrine.data.shards.converters.places import PlacesSelection, has_split, list_places, place_classes
from vitrine.data.shards.converters.scenes import read_categories


class PlacesDataModule(ConvertedDataModule):
    """Scenes: training and validation images of Places365, test images of ADE20K with the object at each pixel.

    Test images are all of ADE20K that are of the scenes, since the network has seen neither of its splits' annotation;
    some of them are from the Places collection, so it may have seen the images. Labels are Places365's in all splits.

    Args:
        shards: folder of the shards, as in `ShardDataModule`.
        root: Places365 as its archives unpack, see `list_places`, or None where the shards are there.
        ade20k_root: ADE20K in either of its formats, see `list_ade20k`; without it there is no test split.
        scenes: categories to take; all without it.
        per_class: training images of each of them, drawn at random; all without it.
        others: training images of each other category, as further negatives; as many validation images.
        categories: ``categories_places365.txt``, where ``root`` has none.
        kwargs: further options of `ShardDataModule`.

    Raises:
        OptionError: for options that make no sense.
    """

    @checked
    def __init__(
        self,
        shards: ShardsOption,
        root: str | Path | None = None,
        ade20k_root: str | Path | None = None,
        scenes: Sequence[str] | None = None,
        per_class: Count | None = None,
        others: CountOrZero = 0,
        categories: str | Path | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(shards, root, **kwargs)
        self.ade20k_root = None if ade20k_root is None else Path(ade20k_root)
        self.scenes = scenes
        self.per_class = per_class
        self.others = others
        self.categories = None if categories is None else Path(categories)

    @override
    def raw_folder(self, split: str) -> Path | None:
        return self.ade20k_root if split == "test" else self.root

    @override
    def list_split(self, root: Path, split: str) -> SampleSet | None:
        if split == "test":
            return list_ade20k(root, "all", self.scenes, self._class_names())
        if split == "val" and not has_split(root, split):
            return None
        return list_places(root, split, PlacesSelection(self.scenes, self.per_class, self.others))

    def _class_names(self) -> list[str]:
        if self.categories is not None:
            return read_categories(self.categories)
        if self.root is None or not self.root.is_dir():
            raise FileNotFoundError(
                f"data.init_args.root ({self.root}) is no folder of Places365, whose classes the images of ADE20K take:"
                " give it, or categories_places365.txt as data.init_args.categories."
            )
        return place_classes(self.root)

    @override
    def how_to_make_shards(self) -> str:
        make = f"python -m vitrine.shards places365 --root places365_standard --split train --out {self.shards}/train"
        test = f"python -m vitrine.shards ade20k --root ADE20K_2021_17_01 --split all --out {self.shards}/test"
        return (
            f"give the folders of Places365 and ADE20K as data.init_args.root ({self.root}) and ade20k_root"
            f" ({self.ade20k_root}), or make them with: {make} and {test} --classes-from categories_places365.txt"
        )
