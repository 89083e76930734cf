"""Sets of salient objects, which have masks and no classes."""

from pathlib import Path

from typing_extensions import override

from datamodules.converted import ConvertedDataModule
from vitrine.data.shards.converter import SampleSet
from vitrine.data.shards.converters.saliency import has_split, list_saliency


class SaliencyDataModule(ConvertedDataModule):
    """MSRA-B, ECSSD or DUTS; ``root`` is the set's folder, whose layout tells which of them it is.

    There is no class to explain but the one that the network predicts: ``classes`` is empty, and labels are (B, 0). Only
    DUTS has a training set.
    """

    @override
    def list_split(self, root: Path, split: str) -> SampleSet | None:
        return list_saliency(root, split) if has_split(root, split) else None

    @override
    def how_to_make_shards(self) -> str:
        make = f"python -m vitrine.shards saliency --root DIR --out {self.shards}/test"
        return f"give the folder of such a set as data.init_args.root ({self.root} is none), or make them with: {make}"
