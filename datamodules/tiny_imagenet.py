"""Tiny ImageNet."""

from pathlib import Path
from typing import Any, Literal

from typing_extensions import override

from datamodules.converted import ConvertedDataModule
from datamodules.split_sources import ShardsOption
from vitrine.core.options import checked
from vitrine.data.shards.converter import SampleSet
from vitrine.data.shards.converters.tiny_imagenet import list_tiny_imagenet


class TinyImageNetDataModule(ConvertedDataModule):
    """Tiny ImageNet with a box an image; ``test`` is the official ``val``, since the official ``test`` has no labels.

    Args:
        shards: folder of the shards, as in `ShardDataModule`.
        root: the folder ``tiny-imagenet-200`` of the official archive, or None where the shards are there.
        class_index: whether labels are the set's ``own`` 200, or those of an ``imagenet`` network with 1,000 logits.
        wnids: with ``imagenet``: a file with those 1,000 wnids, one a row, such as ``LOC_synset_mapping.txt``, or a folder of
            names that begin with them.
        kwargs: further options of `ShardDataModule`.

    Raises:
        OptionError: for options that make no sense.
    """

    @checked
    def __init__(
        self,
        shards: ShardsOption,
        root: str | Path | None = None,
        class_index: Literal["own", "imagenet"] = "own",
        wnids: str | Path | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(shards, root, **kwargs)
        self.class_index = class_index
        self.wnids = None if wnids is None else Path(wnids)

    @override
    def list_split(self, root: Path, split: str) -> SampleSet | None:
        official = {"train": "train", "test": "val"}.get(split)
        if official is None or not (root / official).is_dir():
            return None
        return list_tiny_imagenet(root, official, self.class_index, self.wnids)

    @override
    def how_to_make_shards(self) -> str:
        make = f"python -m vitrine.shards tiny-imagenet --root tiny-imagenet-200 --split val --out {self.shards}/test"
        return (
            f"give the folder tiny-imagenet-200 as data.init_args.root ({self.root} is none), or make them with: {make}"
        )
