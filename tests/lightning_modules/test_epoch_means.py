"""Means over an epoch and ranks weigh each sample alike, and go on after a resume."""

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from typing_extensions import override

from lightning_modules.epoch_means import EpochMeans
from tests.helpers import srae_fakes
from tests.helpers.ranks import RankPool


def test_means_are_weighted_and_begin_anew() -> None:
    means = EpochMeans()
    means.update({"a": torch.tensor(1.0), "b": torch.tensor(4.0)}, 3)
    means.update({"a": torch.tensor(5.0), "b": torch.tensor(8.0)}, 1)
    means.update({"a": torch.tensor(99.0), "b": torch.tensor(99.0)}, 0)
    assert means.compute() == {"a": torch.tensor(2.0), "b": torch.tensor(5.0)}
    assert means.compute() == {}


def of_ranks(rank: int) -> tuple[float, float]:
    """The mean of the values 1, 2, 2, of which rank zero has one and rank one two; then that of a resumed fit."""
    means, resumed = EpochMeans(), EpochMeans()
    means.update({"a": torch.tensor(1.0 + rank)}, 1 + rank)
    resumed.load(means.state(), torch.device("cpu"))
    resumed.update({"a": torch.tensor(10.0)}, 3 * rank)
    return float(means.compute()["a"]), float(resumed.compute()["a"])


def test_ranks_of_unequal_numbers_of_samples() -> None:
    with RankPool(2) as pool:
        assert pool.run(of_ranks) == [(5 / 3, 35 / 6)] * 2


def test_a_value_without_a_sample_is_none() -> None:
    means = EpochMeans()
    means.update({"a": torch.tensor(3.0)}, 0)
    assert means.compute()["a"].isnan()


class Stop(pl.Callback):
    """Ends a fit within its epoch."""

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        trainer.should_stop = True


@pytest.mark.parametrize("settings", [{}, {"max_steps": 1}, {"callbacks": [Stop()]}])
def test_the_mean_of_an_epoch_is_logged_however_it_ends(settings: dict[str, Any]) -> None:
    batches = srae_fakes.make_batches(count=3)
    trainer = srae_fakes.fit(
        srae_fakes.make_module(lr=0.0),
        batches,
        1,
        *settings.pop("callbacks", []),
        **settings,
        enable_checkpointing=False,
    )
    single = [
        srae_fakes.fit(srae_fakes.make_module(lr=0.0), [batch], 1, enable_checkpointing=False).callback_metrics
        for batch in (batches if trainer.global_step == 3 else batches[:1])
    ]
    for name in ("train/loss", "train/loss/faithfulness"):
        expected = sum(float(metrics[name]) for metrics in single) / len(single)
        assert float(trainer.callback_metrics[name]) == pytest.approx(expected, rel=1e-6)
