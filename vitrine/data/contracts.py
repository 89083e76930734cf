"""Contracts: what modules, datamodules and callbacks of a training run ask of each other.

Nobody has to inherit from a protocol: whoever has its members satisfies it.
"""

import functools
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol, cast

from torch import Tensor
from typing_extensions import get_protocol_members

from vitrine.core.batch import Batch
from vitrine.data.class_labels import LabelTranslation, TranslatedData
from vitrine.data.feature_store import FeatureExtractor
from vitrine.data.preprocessing import Preprocessing


class ExplanationData(Protocol):
    """What modules and callbacks ask of a datamodule whose images are explained."""

    @property
    def preprocessing(self) -> Preprocessing:
        """How images are made ready for the backbone, and shown again."""

    @property
    def classes(self) -> Sequence[str]:
        """Class names, in the order of the labels; empty for images without labels."""

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several classes: labels are multi-hot then."""

    @property
    def annotations(self) -> AbstractSet[str]:
        """What test images have beside labels: ``boxes``, ``counterfactuals``, ``mask``, ``objects``, ``parts``."""

    def panel(self, count: int) -> Batch:
        """A batch of at most ``count`` images to draw, the same on every rank and at any time."""


class TrainingData(ExplanationData, Protocol):
    """What modules that are fitted, and callbacks that read a whole split, ask of a datamodule besides."""

    @property
    def augment(self) -> bool:
        """Whether training images are cropped and flipped at random."""

    @property
    def class_counts(self) -> Sequence[int]:
        """Training images of each class, with those held out for validation."""

    @property
    def train_count(self) -> int:
        """Number of training images, with those held out for validation."""

    def sample_counts(self) -> Tensor | None:
        """(J, 2) positives and negatives that each explained class is fitted on; None where it is fitted on all."""

    def num_samples(self, split: str) -> int:
        """Number of samples of a split over all ranks, for ``train`` without those held out for validation."""

    def every_image(self, split: str) -> Iterable[Batch]:
        """The images of a split, each once over all ranks; this rank's share."""

    def every_sample(self, split: str) -> Iterable[Batch]:
        """As `every_image`, with cached features in place of images where the module offers an extractor."""


class FittedModule(Protocol):
    """What a datamodule asks of the module that it loads batches for.

    A module that has none of these members gets shuffled batches of images.
    """

    @property
    def feature_extractor(self) -> FeatureExtractor | None:
        """Computes what may be cached and loaded in place of images; None for a module that has to see images."""

    @property
    def one_pass(self) -> bool:
        """Whether the module is fitted on each training sample once, in any order."""

    @property
    def explained_classes(self) -> Sequence[int]:
        """Labels of the data set that have a head to be fitted; empty where all classes are fitted together."""


class ExplainingModule(Protocol):
    """What callbacks ask of a module that explains, beside what a LightningModule has."""

    @property
    def explainer(self) -> object:
        """The explainer."""


def satisfies(value: object, contract: type) -> bool:
    """Whether a value has all members of a protocol.

    No property is evaluated, as some fail before there is data, and submodules of an ``nn.Module`` are seen: ``isinstance``
    of a runtime-checkable protocol evaluates them up to Python 3.11, and does not see submodules from 3.12 on.
    """
    return not _missing(value, contract)


def explanation_data(trainer: object) -> ExplanationData | None:
    """A trainer's datamodule, with the labels of the module's network; None where the trainer was given bare loaders.

    A module whose classes stand elsewhere than the data set's says so by its ``label_translation``.

    Raises:
        ValueError: where it lacks what `ExplanationData` declares.
    """
    return cast("ExplanationData | None", _datamodule(trainer, ExplanationData))


def training_data(trainer: object) -> TrainingData | None:
    """As `explanation_data`, of a datamodule that modules are fitted on.

    Raises:
        ValueError: where it lacks what `TrainingData` declares.
    """
    return cast("TrainingData | None", _datamodule(trainer, TrainingData))


def fitted_module(module: object) -> FittedModule | None:
    """A module that says how it is fitted; None for one that does not.

    Raises:
        ValueError: where it has some of what `FittedModule` declares, and lacks the rest.
    """
    missing = _missing(module, FittedModule)
    if len(missing) == len(_members(FittedModule)):
        return None
    _refuse(module, missing, FittedModule, "inherit ExplainerModule")
    return cast("FittedModule", module)


def _datamodule(trainer: object, contract: type) -> object:
    datamodule = getattr(trainer, "datamodule", None)  # a trainer has none before it is given one
    if datamodule is None:
        return None
    _refuse(datamodule, _missing(datamodule, contract), contract, "inherit ShardDataModule")
    translation = getattr(getattr(trainer, "lightning_module", None), "label_translation", None)
    return TranslatedData(datamodule, translation) if isinstance(translation, LabelTranslation) else datamodule


@functools.cache
def _members(contract: type) -> frozenset[str]:
    return frozenset(get_protocol_members(contract))


def _missing(value: object, contract: type) -> list[str]:
    """Names that a protocol declares and a value lacks, in alphabetical order."""
    attributes, kind = vars(value) if hasattr(value, "__dict__") else {}, type(value)
    absent = [name for name in _members(contract) if not (name in attributes or hasattr(kind, name))]
    return sorted(set(absent) - set(dir(value))) if absent else []  # submodules are in dir alone


def _refuse(value: object, missing: Sequence[str], contract: type, remedy: str) -> None:
    if missing:
        raise ValueError(
            f"{type(value).__name__} lacks {', '.join(missing)}; {remedy}, or add what"
            f" {contract.__module__}.{contract.__name__} declares."
        )
