"""ShardDataModule: the base of all datamodules, which loads shards for training, validation, test and prediction."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor
from typing_extensions import override

from datamodules.class_samples import ClassSamples
from datamodules.damaged import SkipCounter
from datamodules.feature_batches import OrderedFeatures
from datamodules.feature_cache import FeatureCache
from datamodules.images import ImageFolder, check_predict_root, folder_loader
from datamodules.loaders import EpochLoader, EvenLoader, WholeLoader
from datamodules.options import FeatureCacheOptions, LoadingOptions, SamplingOptions
from datamodules.ranks import RankShare
from datamodules.shard_set import ShardSet
from datamodules.split import Rows, SampleMask, Split
from datamodules.split_sources import ShardsOption
from datamodules.trainer_progress import TrainerProgress
from datamodules.training import ImageLoading
from vitrine.core.batch import Batch
from vitrine.core.options import checked
from vitrine.data.contracts import FittedModule, fitted_module
from vitrine.data.feature_store import FeatureExtractor, FeatureTable
from vitrine.data.preprocessing import Preprocessing
from vitrine.data.streams.shard_cache import ShardCacheOptions


class ShardDataModule(ShardSet):
    """Streams a data set's shards, or reads back features that were computed from them once.

    Where the module offers a ``feature_extractor`` and nothing random stands before it, fitting and validation read cached
    features in place of images. Test and prediction always stream images.

    Args:
        shards: folder with the split folders ``train``, ``test`` and, where there is one, ``val``; or one split folder, a
            tar file or a pattern such as ``train-{000..099}.tar``; each local, at a URL (``http://``, and ``s3://`` and the
            like with the extra ``remote``), or the output of a command (``pipe:``). Or one of these under each split's name.
        preprocessing: makes images ready for the backbone.
        loading: how samples are read, shuffled and put into batches.
        features: whether and where features are cached.
        sampling: how many training images each explained class is fitted on.
        predict_root: folder of images for prediction.
        shard_cache: copies of shards that are not local.

    Raises:
        OptionError: for options that make no sense.
    """

    @checked
    def __init__(
        self,
        shards: ShardsOption,
        preprocessing: Preprocessing = Preprocessing(),  # noqa: B008 - frozen, as those below
        loading: LoadingOptions = LoadingOptions(),  # noqa: B008
        features: FeatureCacheOptions = FeatureCacheOptions(),  # noqa: B008
        sampling: SamplingOptions = SamplingOptions(),  # noqa: B008
        predict_root: str | Path | None = None,
        shard_cache: ShardCacheOptions = ShardCacheOptions(),  # noqa: B008
    ) -> None:
        super().__init__(shards, preprocessing, predict_root, shard_cache)
        self.loading, self.features, self.sampling = loading, features, sampling
        self.skipped = SkipCounter(loading.on_error == "skip")
        """Damaged samples that this rank has left out, where ``loading.on_error`` is ``skip``."""
        self._cache = FeatureCache(features, preprocessing, self._images_at, loading.batch_size)
        self._class_samples: ClassSamples | None = None

    # What a run asks

    @property
    def augment(self) -> bool:
        """Whether training images are cropped and flipped at random."""
        return self.loading.augment

    def sample_counts(self) -> Tensor | None:
        """(J, 2) positives and negatives that each explained class is fitted on; None before the fit, or without a limit."""
        return None if self._class_samples is None else torch.from_numpy(self._class_samples.counts)

    @property
    @override
    def holds_out(self) -> bool:
        """Whether training images are held out for validation, in place of a split of its own."""
        return "val" not in self.splits or self.loading.val_folds is not None

    def num_samples(self, split: str) -> int:
        """Number of samples of a split over all ranks, for ``train`` without those held out for validation."""
        return int(self._samples_of(split).sum())

    def check_shards(self, stage: str) -> None:
        """Checks the checksums of the shards that a stage reads; only files that are new or have changed are read.

        With ``loading.on_error: skip`` damaged shards are read as far as they go.

        Raises:
            ValueError: where a tar file is another than its index says.
        """
        names = {
            "fit": ("train", "val"),
            "validate": ("train",) if self.holds_out else ("val",),
            "test": ("test",),
        }
        for name in names.get(stage, ()):
            if name in self.splits and self.loading.on_error == "stop":
                self._cache.check_sums(self.splits[name])

    def cached_samples(self, split: str) -> int | None:
        """Samples of a split whose features are cached; None where images are to be streamed."""
        if self._extractor is None:
            return None
        return self._cache.store(self.split(split), self._extractor).n_stored

    def every_image(self, split: str) -> WholeLoader:
        """The images of a split, each once over all ranks, in the order of the shards; this rank's share."""
        return self._reading.in_order(self.split(split), self._samples_of(split), "reading")

    def every_sample(self, split: str) -> Iterable[Batch]:
        """As `every_image`, with cached features in place of images where the module offers an extractor."""
        return self._in_order(split, self._samples_of(split), "reading")

    # Loaders of a trainer

    @override
    def train_dataloader(self) -> Iterable[Batch]:
        selected, extractor = self._samples_of("train"), self._extractor
        if not selected.any():
            raise ValueError(f"{self.split('train').folder} holds no samples to train on; convert the set again.")
        self._check_sampling()
        if self._is_one_pass:
            return self._each_sample_once()
        if extractor is not None:
            return self._feature_epochs(extractor)
        return self._reading.epochs(self.split("train"), selected, self._progress)

    @override
    def val_dataloader(self) -> Iterable[Batch]:
        if not self.holds_out:
            return self._in_order("val", self._samples_of("val"), "val")
        return self._in_order("train", self._held_out, "val") if self._held_out.any() else []

    @override
    def test_dataloader(self) -> WholeLoader:
        return self._reading.in_order(self.split("test"), self._samples_of("test"), "test")

    @override
    def predict_dataloader(self) -> WholeLoader:
        images = ImageFolder(check_predict_root(self.predict_root), self.preprocessing, self.loading.on_error)
        return folder_loader(images, self.loading, self._share, self.skipped)

    def _each_sample_once(self) -> EvenLoader:
        """The training samples for a fit in one pass, each once over all ranks."""
        selected, extractor = self._samples_of("train"), self._extractor
        self._class_samples = None
        if extractor is None:
            return self._reading.once(self.split("train"), selected)
        table, rows = self._feature_table("train", extractor), np.flatnonzero(selected)
        rows = self._drawn_rows(table, rows)
        cached = OrderedFeatures(
            table, torch.from_numpy(rows), self.loading.batch_size, self._share, self._class_samples
        )
        return EvenLoader(cached, len(cached), cached.empty_batch)

    def _feature_epochs(self, extractor: FeatureExtractor) -> EpochLoader:
        """Shuffled epochs of cached features, of as many samples of each class as the options allow."""
        table, rows = self._feature_table("train", extractor), np.flatnonzero(self._samples_of("train"))
        order = self._reading.order(self.split("train"), self._drawn_rows(table, rows))
        return self._reading.feature_epochs(table, order, self._progress, self._class_samples)

    def _drawn_rows(self, table: FeatureTable, rows: Rows) -> Rows:
        """The rows that any class is fitted on; notes which class is fitted on which, and tells where there are too few."""
        self._class_samples = None
        if not self.sampling.has_limit:
            return rows
        explained_classes = self._module.explained_classes if self._module is not None else ()
        classes = explained_classes or range(len(self.classes))
        self._class_samples = ClassSamples(table.labels, classes, self.sampling, self.loading.seed, rows)
        for sentence in self._class_samples.shortages():
            rank_zero_warn(sentence)
        return self._class_samples.rows

    def _check_sampling(self) -> None:
        fits_on_samples = not self._is_one_pass or getattr(self._module, "fits_on_samples", False)
        if self.sampling.has_limit and (self._extractor is None or not fits_on_samples):
            raise ValueError(
                "positives_per_class and negatives_per_class draw from cached features: set"
                " data.init_args.loading.augment: false and data.init_args.features.cache: true with a module that fits"
                " each class on samples of its own, such as SRAEModule, or leave both out."
            )

    # Samples in order

    @property
    def _held_out(self) -> SampleMask:
        """(samples,) true for those of ``train`` that are held out for validation."""
        train, loading = self.split("train"), self.loading
        if loading.val_folds is not None:
            return train.fold(loading.val_folds, loading.val_fold)
        return train.held_out(loading.val_fraction if self.holds_out else 0.0)

    def _samples_of(self, split: str) -> SampleMask:
        """(samples,) true for the samples of a split that belong to it: all but those of ``train`` held out."""
        return ~self._held_out if split == "train" else self.split(split).every_sample()

    def _in_order(self, split: str, selected: SampleMask, stage: str) -> Iterable[Batch]:
        cached = self._cached(split, selected)
        return self._reading.in_order(self.split(split), selected, stage) if cached is None else cached

    def _cached(self, split: str, selected: SampleMask) -> OrderedFeatures | None:
        """Cached features of the selected samples; None where images are to be streamed."""
        if self._extractor is None:
            return None
        rows, table = torch.from_numpy(np.flatnonzero(selected)), self._feature_table(split, self._extractor)
        return OrderedFeatures(table, rows, self.loading.batch_size, self._share)

    def _feature_table(self, split: str, extractor: FeatureExtractor) -> FeatureTable:
        return self._cache.table(self.split(split), extractor, self.trainer)

    def _images_at(self, split: Split, rows: Sequence[Rows]) -> Iterable[Batch]:
        """Batches of the images at given rows, of which features are computed."""
        return self._reading.for_features(split, rows)

    @property
    def _reading(self) -> ImageLoading:
        return ImageLoading(self.preprocessing, self.loading, self._share, self.skipped)

    # What the trainer says

    @property
    def _share(self) -> RankShare:
        return RankShare(self.trainer.global_rank, self.trainer.world_size) if self.trainer else RankShare()

    @property
    def _module(self) -> FittedModule | None:
        return fitted_module(self.trainer.lightning_module) if self.trainer else None

    @property
    def _extractor(self) -> FeatureExtractor | None:
        """What computes the features to read in place of images; None where images are to be streamed."""
        is_cached = self.features.cache and not self.loading.augment
        return self._module.feature_extractor if is_cached and self._module is not None else None

    @property
    def _is_one_pass(self) -> bool:
        return self._module is not None and self._module.one_pass

    @property
    def _progress(self) -> TrainerProgress:
        return TrainerProgress(self.trainer)
