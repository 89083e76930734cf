"""MNIST."""

from pathlib import Path

from typing_extensions import override

from datamodules.converted import ConvertedDataModule
from vitrine.data.shards.converter import SampleSet
from vitrine.data.shards.converters.mnist import has_split, list_mnist


class MNISTDataModule(ConvertedDataModule):
    """Handwritten digits; ``root`` has the four official archives, perhaps in ``MNIST/raw``.

    For a network of one input channel: ``preprocessing: {mode: L, mean: [0.1307], std: [0.3081], size: 28, resize: null}``.
    """

    @override
    def list_split(self, root: Path, split: str) -> SampleSet | None:
        return list_mnist(root, split) if has_split(root, split) else None

    @override
    def how_to_make_shards(self) -> str:
        make = f"python -m vitrine.shards mnist --root DIR --split train --out {self.shards}/train"
        return f"give the folder of MNIST/raw as data.init_args.root ({self.root} is none), or make them with: {make}"
