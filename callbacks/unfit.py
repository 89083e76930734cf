"""Callbacks that do not fit a run's explainer are left out, with a line that says so.

A configuration's callbacks are chosen for its explainer; ``--model`` puts another in its place, which some of them cannot
look at: contact sheets need the same heatmaps in all images of a class, tables of filters need selected filters.
"""

from typing import Protocol, cast

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_info

from callbacks.run_access import Run, explainers_of
from vitrine.data.contracts import satisfies


class Choosy(Protocol):
    """A callback that looks at some explainers alone."""

    def unmet(self, run: Run) -> str:
        """What the callback needs that the run's explainer is not, in words; empty where it fits."""


def leave_out_unfit(trainer: pl.Trainer, module: pl.LightningModule) -> None:
    """Takes out of the trainer the callbacks that fit none of the module's explainers."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    for callback in [one for one in callbacks if satisfies(one, Choosy)]:
        unmet = cast("Choosy", callback).unmet
        told = [unmet(Run(trainer, module, callback, name)) for name in explainers_of(module) or [""]]
        if all(told):
            callbacks.remove(callback)
            rank_zero_info(
                f"{type(callback).__name__} is left out: it needs {told[0]}, and the run has {type(module).__name__}."
            )
