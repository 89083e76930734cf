"""The pipeline from shards to batches, which all data sets share."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningDataModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from typing_extensions import override

from datamodules.class_samples import ClassSamples
from datamodules.images import ImageFolder
from datamodules.loaders import EpochLoader, EvenLoader, FeatureBatches, FeatureRows, WholeLoader
from datamodules.split import Split, all_rows, collate, first_of_each_class, held_out_rows
from datamodules.stream import ShardStream, batches_per_rank
from vitrine.core.batch import Batch
from vitrine.data.feature_store import FeatureExtractor, FeatureStore, FeatureTable
from vitrine.data.preprocessing import Preprocessing
from vitrine.data.shards.schema import INDEX_FILE


class ShardDataModule(LightningDataModule):
    """Streams a data set's shards, or reads back features that were computed from them once.

    Where the module offers a ``feature_extractor`` and nothing random stands before it, fitting and validation read kept
    features in place of images. Test and prediction always stream images.

    Args:
        shards: folder with the split folders ``train``, ``test`` and, where there is one, ``val``.
        preprocessing: makes images ready for the backbone.
        augment: whether training images are cropped and flipped at random.
        cache_features: whether features may be kept; with ``augment`` they never are.
        feature_cache: where they are kept.
        val_fraction: share of the training images held out for validation where there is no ``val``.
        batch_size: samples a batch on each device.
        num_workers: processes that read and decode images, on each device.
        shuffle_buffer: samples among which the next one is drawn while streaming.
        seed: of the orders and of the augmentation.
        predict_root: folder of images for prediction.
        positives_per_class: images of its class that each explained class is fitted on at most, drawn by the seed, as in
            section 4.2 of Qi et al.; all without it. Batches then say which under ``sampled``.
        negatives_per_class: the same for images of other classes.
    """

    def __init__(
        self,
        shards: str | Path,
        preprocessing: Preprocessing = Preprocessing(),  # noqa: B008 - frozen
        augment: bool = False,
        cache_features: bool = True,
        feature_cache: str | Path = "data/features",
        val_fraction: float = 0.1,
        batch_size: int = 64,
        num_workers: int = 2,
        shuffle_buffer: int = 1000,
        seed: int = 0,
        predict_root: str | Path | None = None,
        positives_per_class: int | None = None,
        negatives_per_class: int | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; give 1 or more.")
        if num_workers < 0:
            raise ValueError(f"num_workers is {num_workers}; give 0 or more.")
        if not 0 <= val_fraction <= 0.5:
            raise ValueError(
                f"val_fraction is {val_fraction}; give the share of training images to hold out, 0 to 0.5."
            )
        limits = {"positives_per_class": positives_per_class, "negatives_per_class": negatives_per_class}
        for name, limit in limits.items():
            if limit is not None and limit < 1:
                raise ValueError(f"{name} is {limit}; give 1 or more, or null for all.")
        self.shards = Path(shards)
        self.preprocessing = preprocessing
        self.augment = augment
        self.cache_features = cache_features
        self.feature_cache = Path(feature_cache)
        self.val_fraction = val_fraction
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.shuffle_buffer = shuffle_buffer
        self.seed = seed
        self.predict_root = None if predict_root is None else Path(predict_root)
        self.positives_per_class = positives_per_class
        self.negatives_per_class = negatives_per_class
        self.splits: dict[str, Split] = {}
        self._samples: ClassSamples | None = None

    # What there is

    @override
    def setup(self, stage: str) -> None:
        names = [name for name in ("train", "val", "test") if (self.shards / name / INDEX_FILE).is_file()]
        if not names and stage != "predict":
            raise FileNotFoundError(f"{self.shards} holds no shards in train/ or test/; {self.how_to_make_shards()}")
        self.splits = {name: Split.read(self.shards / name) for name in names}
        classes = {tuple(split.index.classes) for split in self.splits.values()}
        if len(classes) > 1:
            raise ValueError(f"The splits in {self.shards} have different classes; convert them from the same set.")

    def how_to_make_shards(self) -> str:
        """The remedy that a missing set's message names."""
        return f"make them with: python -m vitrine.shards folder --root DIR --split train --out {self.shards}/train"

    def split(self, name: str) -> Split:
        """A split by name.

        Raises:
            FileNotFoundError: where it is not there.
        """
        if name not in self.splits:
            raise FileNotFoundError(f"{self.shards / name} holds no shards; {self.how_to_make_shards()}")
        return self.splits[name]

    @property
    def classes(self) -> list[str]:
        """Class names, in the order of the labels."""
        return list(self._any_split.index.classes)

    @property
    def class_counts(self) -> list[int]:
        """Training images of each class, with those held out for validation."""
        return list(self.split("train").index.class_counts)

    @property
    def train_count(self) -> int:
        """Number of training images, with those held out for validation."""
        return self.split("train").index.count

    def sample_counts(self) -> Tensor | None:
        """(J, 2) positives and negatives that each explained class is fitted on; None before the fit, or without a limit."""
        return None if self._samples is None else torch.from_numpy(self._samples.counts)

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several classes."""
        return self._any_split.index.multi_label

    @property
    def annotations(self) -> frozenset[str]:
        """What test images have beside labels: mask, boxes, parts, objects."""
        return frozenset(self.split("test").index.annotations if "test" in self.splits else ())

    @property
    def _any_split(self) -> Split:
        return next(iter(self.splits.values()), None) or self.split("test")

    def panel(self, count: int) -> Batch:
        """The first images of the test set's classes in turn, or of ``predict_root``; the same on every rank."""
        if self.predict_root is not None and "test" not in self.splits:
            images = ImageFolder(self.predict_root, self.preprocessing)
            return collate([images[number] for number in range(min(count, len(images)))])
        split = self.splits.get("test") or self._any_split
        stream = ShardStream(split, self.preprocessing, 1, all_rows(split))
        return collate([stream.prepared(raw) for raw in first_of_each_class(split, count)])

    # Loaders

    @property
    def _place(self) -> tuple[int, int]:
        """Rank and number of processes."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    @property
    def _extractor(self) -> FeatureExtractor | None:
        module = self.trainer.lightning_module if self.trainer else None
        wanted = self.cache_features and not self.augment
        return getattr(module, "feature_extractor", None) if wanted else None

    @property
    def _one_pass(self) -> bool:
        """Whether the module is fitted on each training sample once, in no particular order."""
        return bool(getattr(self.trainer.lightning_module, "one_pass", False)) if self.trainer else False

    @property
    def _held_out(self) -> NDArray[np.bool_]:
        """Rows of ``train`` that are kept for validation."""
        return held_out_rows(self.split("train"), 0.0 if "val" in self.splits else self.val_fraction)

    def rows_of(self, name: str) -> NDArray[np.bool_]:
        """(rows,) true for the rows of a split that belong to it: all but those of ``train`` held out for validation."""
        return ~self._held_out if name == "train" else all_rows(self.split(name))

    def every_image(self, name: str) -> Iterable[Batch]:
        """The images of a split, each once over all ranks, in the order of the shards; this rank's share."""
        return self._stream(self.split(name), self.rows_of(name))

    def every_sample(self, name: str) -> Iterable[Batch]:
        """As `every_image`, with kept features in place of images where the module offers an extractor."""
        return self._kept(name, self.rows_of(name)) or self.every_image(name)

    @override
    def train_dataloader(self) -> Iterable[Batch]:
        rank, world = self._place
        split, wanted = self.split("train"), self.rows_of("train")
        count, size = batches_per_rank(int(wanted.sum()), world, self.batch_size)
        self._check_sampling()
        if self._one_pass:
            return self._every_sample_once()
        if self._extractor is not None:
            table, rows = self._features("train", self._extractor), np.flatnonzero(wanted)
            self._samples = self._draw(table, rows) if self._limited else None
            rows = rows if self._samples is None else self._samples.rows
            batches = FeatureBatches(
                table, torch.from_numpy(rows), self.batch_size, rank, world, self.seed, self._samples
            )
            return EpochLoader(batches.epoch, self._progress, len(batches))

        def epoch(number: int, skip: int) -> Iterator[Batch]:
            seed = hash((self.seed, number)) % 2**63
            stream = ShardStream(
                split,
                self.preprocessing,
                size,
                wanted,
                rank,
                world,
                count,
                seed,
                self.augment,
                self.shuffle_buffer,
                skip,
            )
            return iter(self._workers(stream))

        return EpochLoader(epoch, self._progress, count)

    @property
    def _limited(self) -> bool:
        return self.positives_per_class is not None or self.negatives_per_class is not None

    def _check_sampling(self) -> None:
        if self._limited and (self._extractor is None or self._one_pass):
            raise ValueError(
                "positives_per_class and negatives_per_class draw from kept features: set data.init_args.augment: false and"
                " cache_features: true with a module that is fitted in epochs on features, or leave both out."
            )

    def _draw(self, table: FeatureTable, rows: NDArray[np.int64]) -> ClassSamples:
        """What each of the module's explained classes is fitted on, from these rows."""
        explainer = getattr(self.trainer.lightning_module, "explainer", None) if self.trainer else None
        classes = getattr(explainer, "explained_classes", range(len(self.classes)))
        return ClassSamples(table.labels, classes, self.positives_per_class, self.negatives_per_class, self.seed, rows)

    def _every_sample_once(self) -> Iterable[Batch]:
        """The training samples for a fit in one pass, each once over all ranks."""
        wanted, (rank, world) = self.rows_of("train"), self._place
        kept = self._kept("train", wanted)
        if kept is not None:
            return EvenLoader(kept, math.ceil(math.ceil(int(wanted.sum()) / world) / self.batch_size))
        split = self.split("train")
        streams = [ShardStream(split, self.preprocessing, self.batch_size, wanted, r, world) for r in range(world)]
        most = max(stream.batches_in_order(self.num_workers) for stream in streams)
        return EvenLoader(self._workers(streams[rank]), most)

    @override
    def val_dataloader(self) -> Iterable[Batch]:
        if "val" not in self.splits and not self.val_fraction:
            return []
        name = "val" if "val" in self.splits else "train"
        split = self.split(name)
        wanted = all_rows(split) if name == "val" else self._held_out
        return self._kept(name, wanted) or self._stream(split, wanted)

    @override
    def test_dataloader(self) -> Iterable[Batch]:
        split = self.split("test")
        return self._stream(split, all_rows(split))

    @override
    def predict_dataloader(self) -> Iterable[Batch]:
        if self.predict_root is None:
            raise ValueError("data.init_args.predict_root is not given; name the folder of images to predict.")
        images = ImageFolder(self.predict_root, self.preprocessing)
        rank, world = self._place
        share = Subset(images, range(rank, len(images), world))
        loader = DataLoader(share, self.batch_size, num_workers=self.num_workers, collate_fn=collate)
        return WholeLoader(loader, math.ceil(math.ceil(len(images) / world) / self.batch_size))

    def _stream(self, split: Split, wanted: NDArray[np.bool_]) -> Iterable[Batch]:
        return self._workers(ShardStream(split, self.preprocessing, self.batch_size, wanted, *self._place))

    def _workers(self, stream: ShardStream) -> DataLoader[Batch]:
        # A generator of its own: without it each pass would draw from the process's own random numbers.
        return DataLoader(stream, batch_size=None, num_workers=self.num_workers, generator=torch.Generator())

    # Features that were computed once

    def _kept(self, name: str, wanted: NDArray[np.bool_]) -> FeatureRows | None:
        """Kept features of wanted rows, in order; None where images are to be streamed."""
        if self._extractor is None:
            return None
        rows = torch.from_numpy(np.flatnonzero(wanted))
        return FeatureRows(self._features(name, self._extractor), rows, self.batch_size, *self._place)

    def _features(self, name: str, extractor: FeatureExtractor) -> FeatureTable:
        """The kept features of a split, computed first where they are not there."""
        split, trainer = self.split(name), self.trainer
        metadata = {
            "features": extractor.key,
            "preprocessing": self.preprocessing.key,
            "shards": " ".join(shard.sha256 for shard in split.index.shards),
        }
        store = FeatureStore(self.feature_cache, metadata, split.index.count)
        if trainer is not None and not trainer.strategy.broadcast(store.is_complete):
            self._extract(store, split, extractor, trainer)
        return store.read()

    def _extract(self, store: FeatureStore, split: Split, extractor: FeatureExtractor, trainer: Trainer) -> None:
        """Computes what is missing; all ranks take part."""
        device, barrier = trainer.strategy.root_device, trainer.strategy.barrier
        if trainer.is_global_zero:
            first = next(iter(ShardStream(split, self.preprocessing, 1, all_rows(split))))
            with torch.no_grad():
                computed = extractor(first["image"].to(device))
            label_shape = tuple(first["label"].shape[1:])
            store.allocate(computed["features"].shape[1], computed["logits"].shape[1], label_shape)
        barrier("allocated")
        missing = store.missing_samples()
        barrier("counted")  # the ranks share out the same rows only if none of them has begun to fill them
        title = f"Features of {split.folder}" if trainer.is_global_zero else None
        share = math.ceil(int(missing.sum()) / trainer.world_size)
        store.fill(self._stream(split, missing), extractor, device, title, share)
        barrier("filled")
        if trainer.is_global_zero:
            store.finish(samples=str(split.folder))
        barrier("finished")

    def _progress(self) -> tuple[int, bool]:
        if self.trainer is None:
            return 0, False
        return self.trainer.current_epoch, self.trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
