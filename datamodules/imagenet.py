"""ILSVRC (ImageNet-1k)."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from typing_extensions import override

from datamodules.converted import ConvertedDataModule
from datamodules.split_sources import ShardsOption
from vitrine.core.options import CountOrZero, OptionError, checked
from vitrine.data.shards.converter import SampleSet
from vitrine.data.shards.converters.imagenet import ImageNetOptions, list_imagenet
from vitrine.data.shards.converters.imagenet_layout import has_split
from vitrine.data.shards.converters.wsol import BOXES, list_wsol


class ImageNetDataModule(ConvertedDataModule):
    """ILSVRC with boxes where their XML files are there; labels are the places of torchvision's networks.

    ``test`` is the official validation set, and validation images are held out of the training set. Where ``root`` has the
    text files of `list_wsol` in place of the official archive, their images are the test set.

    Args:
        shards: folder of the shards, as in `ShardDataModule`.
        root: ILSVRC as its archives unpack, see `list_imagenet`, or None where the shards are there.
        annotations: folder of the XML files with boxes, where it is not at its official place.
        ground_truth: classes of validation images in one folder, where ``root`` does not tell them.
        blacklist: numbers of validation images to leave out, such as ``ILSVRC2014_clsloc_validation_blacklist.txt``.
        per_class: training images of each class, drawn at random; 0 for no training set, all without it.
        classes: wnids of the classes to take, as a set of their own whose labels are positions among them; all without it.
        kwargs: further options of `ShardDataModule`.

    Raises:
        OptionError: for options that make no sense.
    """

    @checked
    def __init__(
        self,
        shards: ShardsOption,
        root: str | Path | None = None,
        annotations: str | Path | None = None,
        ground_truth: str | Path | None = None,
        blacklist: str | Path | None = None,
        per_class: CountOrZero | None = None,
        classes: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(shards, root, **kwargs)
        self.annotations_folder = None if annotations is None else Path(annotations)
        self.ground_truth = None if ground_truth is None else Path(ground_truth)
        self.blacklist = None if blacklist is None else Path(blacklist)
        self.per_class = per_class
        self.wanted_classes = None if classes is None else tuple(classes)

    @override
    def list_split(self, root: Path, split: str) -> SampleSet | None:
        if split == "test" and (root / BOXES).is_file():
            self._check_text_files(root)
            return list_wsol(root)
        if split == "test" and has_split(root, "val"):
            options = ImageNetOptions(self.annotations_folder, self.ground_truth, self.blacklist)
            return list_imagenet(root, "val", replace(options, classes=self.wanted_classes))
        if split == "train" and self.per_class != 0 and has_split(root, "train"):
            options = ImageNetOptions(self.annotations_folder, per_class=self.per_class, classes=self.wanted_classes)
            return list_imagenet(root, "train", options)
        return None

    def _check_text_files(self, root: Path) -> None:
        """Refuses options that mean nothing for the text files of `list_wsol`."""
        unused = {"classes": self.wanted_classes, "blacklist": self.blacklist, "ground_truth": self.ground_truth}
        if not has_split(root, "train"):
            unused["annotations"] = self.annotations_folder
        for name, value in unused.items():
            if value is not None:
                raise OptionError(
                    name, value, f"null, as {root} has the text files of a localisation set, which say it ({BOXES})"
                )

    @override
    def how_to_make_shards(self) -> str:
        make = f"python -m vitrine.shards imagenet --root DIR --split val --out {self.shards}/test"
        return f"give the folder that holds ILSVRC as data.init_args.root ({self.root} does not), or make them with: {make}"
