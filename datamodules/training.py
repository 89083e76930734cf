"""Training loaders: shuffled epochs of images or of cached features, and each image once for a fit in one pass."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from datamodules.class_samples import ClassSamples, Indices
from datamodules.damaged import SkipCounter
from datamodules.epoch_order import EpochOrder, EvaluationBatches, TrainingBatches
from datamodules.feature_batches import ShuffledFeatures
from datamodules.image_batches import ImageBatches
from datamodules.loaders import EpochLoader, EvenLoader, WholeLoader
from datamodules.options import LoadingOptions
from datamodules.ranks import RankShare
from datamodules.samples import SampleError
from datamodules.shard_images import ShardImages
from datamodules.split import Rows, SampleMask, Split
from datamodules.trainer_progress import Progress
from vitrine.core.batch import Batch
from vitrine.data.feature_store import FeatureTable
from vitrine.data.preprocessing import Preprocessing


@dataclass(frozen=True)
class ImageLoading:
    """How a rank reads the images of splits.

    Args:
        preprocessing: makes images ready for the backbone.
        loading: how samples are read, shuffled and put into batches.
        share: the rank whose share is read.
        skipped: counts damaged samples that are left out.
    """

    preprocessing: Preprocessing
    loading: LoadingOptions
    share: RankShare
    skipped: SkipCounter

    def images(self, split: Split, augment_seed: int | None = None) -> ShardImages:
        """The images of a split."""
        return ShardImages(split, self.preprocessing, augment_seed, self.loading.on_error)

    def order(self, split: Split, rows: Indices) -> EpochOrder:
        """Orders of rows of a split."""
        return EpochOrder(rows, self.loading.seed, self.loading.shuffle_buffer, split.first_rows)

    def in_order(self, split: Split, selected: SampleMask, stage: str) -> WholeLoader:
        """The selected images of a split in order, each once over all ranks.

        Args:
            split: to read.
            selected: (samples,) whether to read each sample.
            stage: under which damaged samples are counted.
        """
        batches = EvaluationBatches(np.flatnonzero(selected), self.loading.batch_size, self.share)
        read = ImageBatches(self.images(split), batches, self.loading.num_workers, self.skipped, stage, split=split)
        return WholeLoader(read, batches.most)

    def for_features(self, split: Split, rows: Iterable[Rows]) -> Iterator[Batch]:
        """Batches of the images at given rows, whose features are to be cached: all of them, or none.

        Args:
            split: to read.
            rows: of each batch.

        Raises:
            SampleError: for a damaged sample, whatever ``on_error`` says, since cached features have to be complete.
        """
        images = ShardImages(split, self.preprocessing)
        try:
            yield from ImageBatches(images, rows, self.loading.num_workers, self.skipped, "features", split=split)
        except SampleError as error:
            if self.loading.on_error == "stop":
                raise
            remedy = "Cached features have to be complete: mend the set, or set data.init_args.features.cache: false."
            raise SampleError(f"{error} {remedy}") from error

    def once(self, split: Split, selected: SampleMask) -> EvenLoader:
        """As `in_order`, with as many batches on each rank."""
        in_order = self.in_order(split, selected, "train")
        return EvenLoader(in_order, len(in_order), self.images(split).empty_batch)

    def epochs(self, split: Split, selected: SampleMask, progress: Progress) -> EpochLoader:
        """Shuffled epochs of the selected images of a split, augmented where that is wanted.

        Args:
            split: to train on.
            selected: (samples,) whether to train on each sample.
            progress: says where the trainer stands.
        """
        order, options = self.order(split, np.flatnonzero(selected)), self.loading

        def epoch(number: int, skip: int) -> Iterable[Batch]:
            images = self.images(split, hash((options.seed, number)) % 2**63 if options.augment else None)
            batches = TrainingBatches(order.of_epoch(number)[skip:], options.batch_size, self.share)
            return ImageBatches(images, batches, options.num_workers, self.skipped, "train", images.empty_batch, split)

        return EpochLoader(epoch, progress, len(order), self.share.global_batch(options.batch_size))

    def feature_epochs(
        self, table: FeatureTable, order: EpochOrder, progress: Progress, class_samples: ClassSamples | None = None
    ) -> EpochLoader:
        """Shuffled epochs of cached features.

        Args:
            table: the cached features of the split.
            order: of the samples to train on.
            progress: says where the trainer stands.
            class_samples: what each class is fitted on, where not all classes are fitted on all samples.
        """
        batch_size = self.loading.batch_size
        batches = ShuffledFeatures(table, order, batch_size, self.share, class_samples)
        return EpochLoader(batches.epoch, progress, len(order), self.share.global_batch(batch_size))
