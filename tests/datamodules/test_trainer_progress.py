"""Where a Lightning trainer stands, read from its own counters."""

from typing import Any

import pytest
import pytorch_lightning as pl

from datamodules.trainer_progress import TrainerProgress
from tests.helpers import srae_fakes


def trainer(**options: Any) -> pl.Trainer:
    return pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **options)


def test_without_a_trainer_nobody_counts() -> None:
    progress = TrainerProgress(None)
    assert (progress.epoch, progress.trained_batches, progress.is_complete) == (0, None, False)
    assert progress.order_of(3) == 3
    assert progress.limited(7) == 7
    progress.resume_after(3)
    progress.begin_epoch()


def test_an_epoch_is_complete_once_its_last_batch_is_processed() -> None:
    of = trainer()
    counters, progress = of.fit_loop.epoch_loop.batch_progress, TrainerProgress(of)
    counters.increment_ready()
    counters.is_last_batch = True
    assert not progress.is_complete
    counters.increment_processed()
    assert progress.is_complete
    assert progress.trained_batches == 1


@pytest.mark.parametrize(("limit", "batches"), [(3, 3), (20, 7), (0.5, 3), (1.0, 7), (None, 7)])
def test_limits(limit: float | None, batches: int) -> None:
    assert TrainerProgress(trainer(limit_train_batches=limit)).limited(7) == batches


def test_overfitting_repeats_the_first_order() -> None:
    assert TrainerProgress(trainer(overfit_batches=2)).order_of(3) == 0


def test_each_group_of_heads_sees_the_orders_of_the_first() -> None:
    of = trainer()
    of.strategy._lightning_module = srae_fakes.make_module(classes_at_once=1)
    progress = TrainerProgress(of)
    assert [progress.order_of(epoch) for epoch in range(5)] == [0, 1, 2, 3, 4]
    module: Any = of.lightning_module
    module.epochs_of_group = 2
    assert [progress.order_of(epoch) for epoch in range(5)] == [0, 1, 0, 1, 0]


def test_counters_are_shifted_together() -> None:
    of = trainer()
    current: Any = of.fit_loop.epoch_loop.batch_progress.current
    current.ready, current.started, current.processed, current.completed = 4, 4, 4, 3
    TrainerProgress(of).resume_after(9)
    assert (current.ready, current.started, current.processed, current.completed) == (9, 9, 9, 8)
    assert of.fit_loop.epoch_loop.batch_progress.total.ready == 0


@pytest.mark.parametrize(("completed", "begun", "expected"), [(1, 1, 2), (1, 2, 2), (0, 0, 1)])
def test_an_epoch_that_is_drawn_from_has_begun(completed: int, begun: int, expected: int) -> None:
    of = trainer()
    counts: Any = of.fit_loop.epoch_progress.current
    counts.ready, counts.started, counts.processed, counts.completed = begun, begun, completed, completed
    TrainerProgress(of).begin_epoch()
    assert (counts.ready, counts.started, counts.processed, counts.completed) == (
        expected,
        expected,
        completed,
        completed,
    )
