"""Fits on one rank and on several whose batches are of different sizes, some of them empty."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from datamodules.loaders import WholeLoader
from tests.helpers import srae_fakes
from vitrine.core.batch import Batch


def ragged_batches() -> list[Batch]:
    """Two batches of 7 samples, and a last one of a single sample."""
    whole: list[Any] = list(srae_fakes.make_batches(count=3, size=7))
    last: Any = {name: value[:1] for name, value in whole[-1].items()}
    return [*whole[:-1], last]


def fits(rank: int, world: int, folder: Path, cases: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Heads and logged figures of each case: options of the module, and of the trainer under ``trainer``."""
    found = {}
    for name, options in cases.items():
        module = srae_fakes.make_module(**{key: value for key, value in options.items() if key != "trainer"})
        batches = srae_fakes.share(ragged_batches(), rank, world)
        val = srae_fakes.share(srae_fakes.make_batches(count=1, size=1), rank, world)
        of_rank = WholeLoader(
            [batch for batch in val if len(batch["label"])], length=1
        )  # of one sample: some have none
        trainer = {"strategy": "ddp" if world > 1 else "auto", "devices": world, "use_distributed_sampler": False}
        trainer |= {"default_root_dir": folder, **options.get("trainer", {})}
        fitted = pl.Trainer(max_epochs=3, **{**srae_fakes.QUIET, **trainer})
        fitted.fit(module, srae_fakes.Batches(batches), of_rank)
        figures = {name: float(value) for name, value in fitted.callback_metrics.items()}
        found[name] = srae_fakes.state_of(module), figures
    return found


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(
        float((torch.as_tensor(one[name]).float() - torch.as_tensor(other[name]).float()).abs().max()) for name in one
    )
