"""EvaluationCallback: the base of callbacks that look at every batch of a test or a prediction."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

import pytorch_lightning as pl
from rich.console import Console
from torch import Tensor
from typing_extensions import override

from callbacks.run_access import Run, explainers_of, is_trial
from vitrine.core.batch import Batch
from vitrine.core.distributed import gather_on_zero
from vitrine.core.folder_manifest import FolderKind

S = TypeVar("S")
"""What a rank contributes to what is written."""


class EvaluationCallback(pl.Callback, ABC, Generic[S]):
    """Looks at each batch and what its step returned; measures, gathers and writes when all have been seen.

    A subclass fills in what it needs of `check`, `begin`, `take`, `figures`, `share` and `write`. All but `write` run on
    every rank, so that they may compute and gather together; `write` runs on rank zero alone, and in no ``fast_dev_run``.
    The base tells where the result is when the run is over.

    Of a module with several explainers, each that the callback fits is looked at by a copy of its own.
    """

    stage: ClassVar[Literal["test", "predict"]] = "test"
    """The run whose batches are looked at."""
    title: ClassVar[str] = ""
    """What the result is called when the user is told where it is."""
    replaces: ClassVar[tuple[str, FolderKind] | None] = None
    """Name and kind of the folder in the run's folder that is replaced as a whole, where the result is one."""

    def __init__(self) -> None:
        super().__init__()
        self.result: Path | None = None
        """What this run has written; None before it is there, and on other ranks."""
        self._copies: Mapping[str, Self] = {}

    @property
    def settings(self) -> Mapping[str, str]:
        """What its figures depend on and their names do not tell, by the beginning of their names; for tables."""
        return {}

    def check(self, run: Run) -> None:
        """Refuses what cannot work, before anything runs.

        Raises:
            ValueError: where the callback does not fit the run.
        """

    def unmet(self, run: Run) -> str:  # noqa: ARG002
        """What the callback needs that the run's explainer is not, in words, so that it is left out; empty where it fits."""
        return ""

    def begin(self, run: Run) -> None:
        """Forgets an earlier run and prepares this one, before the first batch."""

    @abstractmethod
    def take(self, run: Run, batch: Batch, outputs: object) -> None:
        """Looks at a batch and what its step returned; keeps no images but a bounded number, at most numbers of each row."""

    def figures(self, run: Run) -> Mapping[str, Tensor | float]:  # noqa: ARG002
        """What is logged of a test, by its name after ``test/``; computed over all ranks, the same on each."""
        return {}

    def share(self, run: Run) -> S | None:  # noqa: ARG002
        """What rank zero needs of this rank; afterwards nothing is kept. May be a collective."""
        return None

    def write(self, run: Run, shares: Sequence[S]) -> Path | None:  # noqa: ARG002
        """Writes the result on rank zero, in place of an earlier one, and returns where it is; None without one."""
        return None

    @property
    def copies(self) -> Sequence[Self]:
        """The copies that look at one of several explainers each; none where there is one alone."""
        return list(self._copies.values())

    def of(self, name: str) -> Self:
        """The copy that looks at one of several explainers; the callback itself where there is one alone."""
        return self._copies.get(name, self)

    # Lightning's hooks

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.result = None
        self._copies = {}
        names = [name for name in explainers_of(pl_module) if not self.unmet(Run(trainer, pl_module, self, name))]
        copies: Any = {name: copy.deepcopy(self) for name in names}
        self._copies = copies
        for one, run in self._looks(trainer, pl_module):
            one.result = None
            one.check(run)
            if stage == self.stage and self.replaces is not None:
                run.check_replaceable(*self.replaces)

    def _looks(self, trainer: pl.Trainer, module: pl.LightningModule) -> list[tuple[Self, Run]]:
        """Who looks at what: the callback at the module's explainer, or a copy at each of several."""
        if not self._copies:
            return [(self, Run(trainer, module, self))]
        return [(one, Run(trainer, module, one, name)) for name, one in self._copies.items()]

    @override
    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin(trainer, pl_module, "test")

    @override
    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin(trainer, pl_module, "predict")

    @override
    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._take(trainer, pl_module, outputs, batch, "test")

    @override
    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._take(trainer, pl_module, outputs, batch, "predict")

    @override
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.stage != "test":
            return
        for one, run in self._looks(trainer, pl_module):
            figures = one.figures(run)
            # Computed on all ranks together, so every rank logs the same figures.
            pl_module.log_dict({f"{run.prefix}{name}": value for name, value in figures.items()}, rank_zero_only=True)

    @override
    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._finish(trainer, pl_module, "test")

    @override
    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._finish(trainer, pl_module, "predict")

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        for one, run in self._looks(trainer, pl_module) if stage == self.stage else []:
            if one.result is not None:
                title = " ".join(filter(None, (self.title, run.name)))
                Console(soft_wrap=True, highlight=False, markup=False).print(f"{title}: {one.result}")

    def _begin(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        for one, run in self._looks(trainer, module) if stage == self.stage else []:
            one.begin(run)

    def _take(self, trainer: pl.Trainer, module: pl.LightningModule, outputs: object, batch: Batch, stage: str) -> None:
        for one, run in self._looks(trainer, module) if stage == self.stage else []:
            one.take(run, batch, outputs[run.name] if run.name and isinstance(outputs, dict) else outputs)

    def _finish(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        for one, run in self._looks(trainer, module) if stage == self.stage else []:
            shares = gather_on_zero(one.share(run))
            if trainer.is_global_zero and not is_trial(trainer):
                one.result = one.write(run, [share for share in shares if share is not None])
