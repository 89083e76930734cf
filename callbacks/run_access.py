"""Run access: what a callback asks of the trainer, its datamodule and its module."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import pytorch_lightning as pl
from torch import Tensor, nn

from vitrine.backbones.networks import BackboneOptions
from vitrine.core.batch import Batch
from vitrine.core.distributed import gather_over_ranks
from vitrine.core.explanation import Explanation
from vitrine.core.folder_manifest import FolderKind, check_replaceable
from vitrine.core.heatmap_texts import HeatmapTexts
from vitrine.core.near_names import near_names
from vitrine.data.contracts import (
    ExplainingModule,
    ExplanationData,
    TrainingData,
    explanation_data,
    satisfies,
    training_data,
)
from vitrine.explainers.srae.x_features import OnBackbone

D = TypeVar("D", bound=ExplanationData)
T = TypeVar("T")


EXPLAINERS = "explainers"
"""Folder of the run's folder that has one for each explainer, where a module has several."""


def explainers_of(module: pl.LightningModule) -> Mapping[str, object]:
    """The explainers of a module that has several, by name; none of other modules."""
    explainers = getattr(module, "explainers", None)
    return explainers if isinstance(explainers, Mapping) else {}


def asked(value: object, path: str) -> Any:
    """An attribute by its dotted path; None where there is none, or it cannot be read before there is data."""
    for name in path.split("."):
        try:
            value = getattr(value, name, None)
        except (ValueError, OSError, RuntimeError):
            return None
    return value


def backbone_options(module: nn.Module) -> BackboneOptions | None:
    """What a module explains, or trains."""
    for path in ("explainer.backbone.options", "backbone"):
        options = asked(module, path)
        if isinstance(options, BackboneOptions):
            return options
    return None


def is_trial(trainer: pl.Trainer) -> bool:
    """Whether this is a ``fast_dev_run``, which writes over nothing."""
    return bool(vars(trainer).get("fast_dev_run"))


class NamesClasses(Protocol):
    """An explainer that may know the names of the backbone's classes."""

    @property
    def classes(self) -> Sequence[str]:
        """The names, empty where they are not known."""


@dataclass(frozen=True)
class Run:
    """A trainer and its module, as one callback sees them.

    Args:
        trainer: that runs.
        module: what it runs.
        callback: that asks; messages name its class.
        name: of the explainer that is looked at, of a module with several; empty for the module's one.
    """

    trainer: pl.Trainer
    module: pl.LightningModule
    callback: pl.Callback
    name: str = ""

    @property
    def asker(self) -> str:
        """Name of the callback's class."""
        return type(self.callback).__name__

    @property
    def folder(self) -> Path:
        """The run's folder, or what it has of one of several explainers."""
        folder = Path(self.trainer.default_root_dir)
        return folder / EXPLAINERS / self.name if self.name else folder

    @property
    def prefix(self) -> str:
        """What the names of a test's figures begin with."""
        return f"test/{self.name}/" if self.name else "test/"

    def logged(self) -> dict[str, float]:
        """The figures of this run so far, of one of several explainers by the names that it would have alone.

        To be asked for on all ranks together.
        """
        # A collective, where Lightning has not computed a figure by now.
        values = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        if not self.name:
            return values
        return {
            f"test/{name.removeprefix(self.prefix)}": value
            for name, value in values.items()
            if name.startswith(self.prefix)
        }

    def check_replaceable(self, name: str, kind: FolderKind) -> None:
        """Refuses, on all ranks, to replace a folder below the run's folder in which something would be lost.

        Raises:
            FileExistsError: where it holds other than what was written there, see `check_replaceable`.
        """
        if not is_trial(self.trainer):
            self.on_zero(lambda: check_replaceable(self.folder / name, kind))

    def on_zero(self, action: Callable[[], T]) -> T:
        """Runs on rank zero what reads or makes files, and returns its value, or raises its error, on all ranks."""
        value: T | None = None
        error: Exception | None = None
        if self.trainer.is_global_zero:
            try:
                value = action()
            except (OSError, ValueError) as raised:
                error = raised
        value, error = gather_over_ranks((value, error))[0]
        if error is not None:
            raise error
        return cast("T", value)

    @property
    def datamodule(self) -> ExplanationData:
        """The run's datamodule.

        Raises:
            ValueError: where the trainer was given loaders alone, which cannot say how to undo their preprocessing.
        """
        return self._given(explanation_data(self.trainer))

    @property
    def training_data(self) -> TrainingData:
        """The run's datamodule, which gives whole splits.

        Raises:
            ValueError: where the trainer was given loaders alone, and for a datamodule that cannot do it.
        """
        return self._given(training_data(self.trainer))

    def _given(self, datamodule: D | None) -> D:
        if datamodule is None:
            raise ValueError(f"{self.asker} needs a datamodule; pass datamodule=… to the trainer, not loaders.")
        return datamodule

    @property
    def explainer(self) -> object:
        """The module's explainer, None where it has none."""
        if self.name:
            return explainers_of(self.module)[self.name]
        return cast("ExplainingModule", self.module).explainer if satisfies(self.module, ExplainingModule) else None

    def unmet_alone(self) -> str:
        """What a callback needs that looks at the module's one explainer, where it has several; empty where it has one."""
        return "a module of one explainer" if explainers_of(self.module) else ""

    @property
    def heatmap_texts(self) -> HeatmapTexts:
        """What pages say of the explainer's heatmaps; of all explainers alike where it says nothing itself."""
        tell = getattr(self.explainer, "heatmap_texts", None)
        return tell() if callable(tell) else HeatmapTexts()

    def check_alone(self) -> None:
        """Refuses, for a callback that looks at the module's one explainer, a module with several.

        Raises:
            ValueError: where it has several.
        """
        if self.unmet_alone() and not self.name:
            raise ValueError(
                f"{self.asker} looks at one explainer, but {type(self.module).__name__} has several; leave the callback out,"
                " or run it with the module of one explainer, such as AttributionModule."
            )

    def backbone_explainer(self) -> OnBackbone:
        """The module's explainer, which has a frozen backbone.

        Raises:
            ValueError: where it is none.
        """
        if satisfies(self.explainer, OnBackbone):
            return cast("OnBackbone", self.explainer)
        raise self.refusal("a module with an explainer on a frozen backbone", self.module)

    def refusal(self, needed: str, given: object, remedy: str = "") -> ValueError:
        """The error of a callback that cannot work with what it is given."""
        return ValueError(f"{self.asker} needs {needed}, got {type(given).__name__}{remedy and f'; {remedy}'}.")

    @property
    def class_names(self) -> list[str]:
        """Names of the backbone's classes: the explainer's own, or else the data set's."""
        own = cast("NamesClasses", self.explainer).classes if satisfies(self.explainer, NamesClasses) else ()
        return list(own or self.datamodule.classes)

    def explanation(self, outputs: object) -> Explanation:
        """What a step returned, on the CPU.

        Raises:
            ValueError: where it is no explanation.
        """
        if isinstance(outputs, Explanation):
            return outputs.cpu()
        step = "predict_step" if self.trainer.predicting else "test_step"
        raise self.refusal(f"a {step} that returns an Explanation", outputs, "use it with an explainer's module")

    def plain_images(self, batch: Batch, rows: Sequence[int]) -> Tensor:
        """(len(rows), 3, H, W) in [0, 1], on the CPU: some of the batch's images as they were before normalisation."""
        images: Tensor = self.datamodule.preprocessing.denormalize(batch["image"][list(rows)])
        return images.detach().cpu()

    def share(self, images: Tensor) -> Tensor:
        """This rank's ``images[rank::world]``, on the module's device in the trainer's precision."""
        own = images[self.trainer.global_rank :: self.trainer.world_size].to(self.module.device)
        converted: Tensor = self.trainer.precision_plugin.convert_input(own)
        return converted

    def class_indices(self, wanted: Sequence[str] | None, known: Collection[str], kind: str = "class") -> list[int]:
        """Indices of the wanted classes, in their order; of all that are known without any.

        Args:
            wanted: names of classes.
            known: names of the classes that can be chosen.
            kind: what the known ones are called in the message.

        Raises:
            ValueError: for a name that is not known.
        """
        names = self.class_names
        for name in wanted or ():
            if name not in known:
                near = ", ".join(near_names(name, known))
                raise ValueError(f"{self.asker}: there is no {kind} {name!r}; near names: {near}.")
        chosen = names if wanted is None else wanted
        return [names.index(name) for name in chosen if name in known and name in names]
