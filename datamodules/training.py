"""Training loaders: shuffled epochs of images or of cached features, and each image once for a fit in one pass."""

from collections.abc import Iterable

import torch

from datamodules.class_samples import ClassSamples, Indices
from datamodules.feature_batches import ShuffledFeatures
from datamodules.loaders import EpochLoader, EvenLoader, Progress, image_loader
from datamodules.options import LoadingOptions
from datamodules.ranks import RankShare
from datamodules.split import SampleMask, Split
from datamodules.stream import ShardStream, ShuffledEpoch
from vitrine.core.batch import Batch
from vitrine.data.feature_store import FeatureTable
from vitrine.data.preprocessing import Preprocessing


def image_epochs(
    split: Split,
    preprocessing: Preprocessing,
    loading: LoadingOptions,
    selected: SampleMask,
    share: RankShare,
    progress: Progress,
) -> EpochLoader:
    """Shuffled epochs of images, augmented where that is wanted.

    Args:
        split: to train on.
        preprocessing: makes images ready for the backbone.
        loading: how samples are read, shuffled and put into batches.
        selected: (samples,) whether to train on each sample.
        share: the rank whose share is read.
        progress: says where the trainer stands.

    Raises:
        ValueError: where there is less than one sample per rank.
    """
    num_batches, batch_size = share.training_batches(int(selected.sum()), loading.batch_size)

    def epoch(number: int, skip: int) -> Iterable[Batch]:
        seed = hash((loading.seed, number)) % 2**63
        shuffled = ShuffledEpoch(seed, num_batches, loading.shuffle_buffer, loading.augment, skip)
        return image_loader(ShardStream(split, preprocessing, batch_size, selected, share, shuffled), loading)

    return EpochLoader(epoch, progress, num_batches)


def feature_epochs(
    table: FeatureTable,
    rows: Indices,
    loading: LoadingOptions,
    share: RankShare,
    progress: Progress,
    class_samples: ClassSamples | None = None,
) -> EpochLoader:
    """Shuffled epochs of cached features.

    Args:
        table: the cached features of the split.
        rows: (n,) rows of the samples to train on.
        loading: how samples are shuffled and put into batches.
        share: the rank whose share is read.
        progress: says where the trainer stands.
        class_samples: what each class is fitted on, where not all classes are fitted on all samples.
    """
    batches = ShuffledFeatures(table, torch.from_numpy(rows), loading.batch_size, share, loading.seed, class_samples)
    return EpochLoader(batches.epoch, progress, len(batches))


def images_once(
    split: Split, preprocessing: Preprocessing, loading: LoadingOptions, selected: SampleMask, share: RankShare
) -> EvenLoader:
    """Each selected image once over all ranks; the arguments are those of `image_epochs`."""

    def stream(rank: int) -> ShardStream:
        own = RankShare(rank, share.world_size)
        return ShardStream(split, preprocessing, loading.batch_size, selected, own)

    most = max(stream(rank).batches_in_order(loading.num_workers) for rank in range(share.world_size))
    return EvenLoader(image_loader(stream(share.rank), loading), most)
