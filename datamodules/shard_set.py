"""A sharded data set: its splits, its classes and annotations, and a panel of its images."""

from pathlib import Path
from typing import Any

from pytorch_lightning import LightningDataModule
from typing_extensions import override

from datamodules.images import check_predict_root
from datamodules.panel import panel_of_folder, panel_of_split
from datamodules.split import Split
from datamodules.split_sources import ShardsOption, is_set_folder, read_splits
from vitrine.core.batch import Batch
from vitrine.data.preprocessing import Preprocessing
from vitrine.data.shards.schema import INDEX_FILE
from vitrine.data.streams.shard_cache import ShardCacheOptions


class ShardSet(LightningDataModule):
    """What there is in a folder of shards; `ShardDataModule` loads it.

    Args:
        shards: folder with the split folders ``train``, ``test`` and, where there is one, ``val``; or whatever else
            `datamodules.split_sources.ShardsOption` says.
        preprocessing: makes images ready for the backbone.
        predict_root: folder of images for prediction.
        shard_cache: of shards that are not local.
    """

    def __init__(
        self,
        shards: ShardsOption,
        preprocessing: Preprocessing,
        predict_root: str | Path | None,
        shard_cache: ShardCacheOptions = ShardCacheOptions(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__()
        self.shards: Any = Path(str(shards)) if is_set_folder(shards) else shards
        self.shard_cache = shard_cache
        self.preprocessing = preprocessing
        self.predict_root = None if predict_root is None else Path(predict_root)
        self.splits: dict[str, Split] = {}

    @override
    def setup(self, stage: str) -> None:
        """Reads the index of each split.

        Raises:
            FileNotFoundError: where there are no shards, except for prediction, which needs a folder of images instead.
            ValueError: where splits have different classes, and for a prediction without a folder.
        """
        if stage == "predict" and self.trainer is not None:  # before a checkpoint is restored
            check_predict_root(self.predict_root)
        self.splits = read_splits(self.shards, self.shard_cache)
        if not self.splits and stage != "predict":
            raise FileNotFoundError(f"{self.shards} holds no shards in train/ or test/; {self._remedy}")
        self._check_classes()

    def _check_classes(self) -> None:
        """Checks that a label means one class in all splits."""
        (first, of_first), *others = [(name, split.index.classes) for name, split in self.splits.items()] or [("", [])]
        for name, classes in others:
            if classes != of_first:
                odd = sorted(set(classes) ^ set(of_first))
                what = f"{', '.join(odd[:5])} in one alone" if odd else "the same in another order"
                raise ValueError(
                    f"The splits in {self.shards} have different classes, {first} and {name} {what}; convert them from the"
                    " same set."
                )

    @property
    def _remedy(self) -> str:
        if is_set_folder(self.shards):
            return self.how_to_make_shards()
        return f"check data.init_args.shards: a split is a folder or URL with {INDEX_FILE}, or tar files."

    def how_to_make_shards(self) -> str:
        """The remedy that the message of a missing set names."""
        return f"make them with: python -m vitrine.shards folder --root DIR --split train --out {self.shards}/train"

    def split(self, name: str) -> Split:
        """A split by name.

        Raises:
            FileNotFoundError: where it is not there.
        """
        if name not in self.splits:
            place = f"{self.shards}/{name}" if is_set_folder(self.shards) else f"{self.shards}, split {name},"
            raise FileNotFoundError(f"{place} holds no shards; {self._remedy}")
        return self.splits[name]

    @property
    def classes(self) -> list[str]:
        """Class names, in the order of the labels; none in a prediction without shards."""
        return list(self._any_split.index.classes) if self.splits or self.predict_root is None else []

    @property
    def class_counts(self) -> list[int]:
        """Training images of each class, with those held out for validation."""
        return list(self.split("train").index.class_counts)

    @property
    def train_count(self) -> int:
        """Number of training images, with those held out for validation."""
        return self.split("train").index.count

    @property
    def holds_out(self) -> bool:
        """Whether validation images are held out of the training set."""
        return "val" not in self.splits

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several classes."""
        return self._any_split.index.multi_label

    @property
    def annotations(self) -> frozenset[str]:
        """What test images have beside labels: boxes, counterfactuals, mask, objects, parts."""
        return frozenset(self.split("test").index.annotations if "test" in self.splits else ())

    @property
    def validation_annotations(self) -> frozenset[str]:
        """What validation images have beside labels, be they held out or a split of their own."""
        split = self.splits.get("train" if self.holds_out else "val")
        return frozenset(split.index.annotations if split else ())

    @property
    def dataset(self) -> str:
        """Name of the data set, as its shards have it."""
        return self._any_split.index.dataset

    def panel(self, count: int) -> Batch:
        """The first images of the test set's classes in turn, or of ``predict_root``; the same on every rank."""
        if self.predict_root is not None and "test" not in self.splits:
            return panel_of_folder(self.predict_root, self.preprocessing, count)
        return panel_of_split(self.splits.get("test") or self._any_split, self.preprocessing, count)

    @property
    def _any_split(self) -> Split:
        return next(iter(self.splits.values()), None) or self.split("test")
