"""Options of datamodules: loading, the cache of features, and how many training images a class has."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from vitrine.core.options import Count, CountOrZero, OptionError, Options, Range
from vitrine.data.feature_store.manifest import FeatureType
from vitrine.data.feature_store.pass_options import PassOptions

OnError = Literal["stop", "skip"]


@dataclass(frozen=True)
class LoadingOptions(Options):
    """How samples are read, shuffled and put into batches.

    Args:
        batch_size: samples per batch on each device.
        num_workers: processes that read and decode images, on each device.
        shuffle_buffer: samples that are shuffled together. A set of at most as many is shuffled as a whole each epoch; of a
            larger one the shards come in random order, and samples are shuffled within windows of this many.
        seed: of the orders of the epochs and of the augmentation.
        augment: whether training images are cropped and flipped at random.
        val_fraction: share of the training images that is held out for validation where there is no split ``val``.
        val_folds: number of folds for cross-validation: every so many of the training images is held out in place of
            ``val_fraction``, also where there is a split ``val``.
        val_fold: which of them is held out, from 0 on.
        on_error: what to do about a damaged shard or image: ``stop`` with its name, or ``skip`` it, with a warning and a
            count of the samples left out.

    Raises:
        OptionError: for a number out of range.
    """

    batch_size: Count = 64
    num_workers: CountOrZero = 2
    shuffle_buffer: Count = 100_000
    seed: int = 0
    augment: bool = False
    val_fraction: Annotated[float, Range(at_least=0, at_most=0.5)] = 0.1
    val_folds: Annotated[int, Range(at_least=2)] | None = None
    val_fold: CountOrZero = 0
    on_error: OnError = "stop"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.val_fold >= (self.val_folds or 1):
            folds = self.val_folds or 1
            remedy = f"one of 0 to {folds - 1}, the folds of val_folds" if self.val_folds else "0, or val_folds as well"
            raise OptionError("val_fold", self.val_fold, remedy)


@dataclass(frozen=True)
class FeatureCacheOptions(Options):
    """Features that are computed once and read back from disk in place of images.

    Args:
        cache: whether features may be cached; augmented images have none that could be.
        folder: the cache, in which each network, layer, preprocessing and split has a folder of its own;
            ``python -m vitrine.features`` lists, verifies and prunes it.
        dtype: type in which features are stored; float16 and bfloat16 take half the space and round them.
        compute: precision and memory format in which the network computes them.

    Raises:
        OptionError: for another type.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {"cache_features": "cache", "feature_cache": "folder"}

    cache: bool = True
    folder: str | Path = "data/features"
    dtype: FeatureType = "float32"
    compute: PassOptions = field(default_factory=PassOptions)


@dataclass(frozen=True)
class SamplingOptions(Options):
    """How many training images each explained class is fitted on, as in section 4.2 of Qi, Khorram and Li (2018).

    Where there is a limit, images are drawn by the seed, and batches say under ``sampled`` which class is fitted on which.

    Args:
        positives_per_class: images of the class at most; all of them without it.
        negatives_per_class: images of other classes at most; all of them without it.

    Raises:
        OptionError: for a limit below 1.
    """

    positives_per_class: Count | None = None
    negatives_per_class: Count | None = None

    @property
    def has_limit(self) -> bool:
        """Whether any class is fitted on fewer images than there are."""
        return self.positives_per_class is not None or self.negatives_per_class is not None
