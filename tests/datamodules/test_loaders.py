"""Loaders that go on within an epoch after a resume, and those that give every rank the same number of batches."""

from typing import Any

import pytest
import torch

from datamodules.loaders import EpochLoader, EvenLoader, WholeLoader
from tests.helpers.shard_fakes import StandingProgress as Progress
from vitrine.core.batch import Batch


def batches(epoch: int, skip: int) -> list[Batch]:
    """Of 5 samples, two in each batch."""
    return [Batch(key=[f"{epoch}:{first}"]) for first in range(skip, 5, 2)]


def loader_of(progress: Progress, global_batch: int = 2) -> EpochLoader:
    return EpochLoader(batches, progress, 5, global_batch)


def keys(loader: Any, count: int | None = None) -> list[str]:
    drawn = []
    for batch in loader:
        drawn += batch["key"]
        if len(drawn) == count:
            break
    return drawn


def test_each_pass_is_the_next_epoch() -> None:
    loader = loader_of(Progress(4))
    assert len(loader) == 3
    assert keys(loader) == ["4:0", "4:2", "4:4"]
    assert keys(loader) == ["5:0", "5:2", "5:4"]


def test_each_pass_is_the_first_epoch_where_one_set_of_batches_is_fitted_over_and_over() -> None:
    loader = loader_of(Progress(4, repeated=0))
    assert keys(loader) == keys(loader) == ["0:0", "0:2", "0:4"]


def test_without_a_trainer_what_was_drawn_counts_as_done() -> None:
    loader = loader_of(Progress(2, trained_batches=None))
    assert keys(loader, 2) == ["2:0", "2:2"]
    state = loader.state_dict()
    assert state == {"epoch": 2, "samples": 4}
    resumed = loader_of(Progress())
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    assert keys(resumed) == ["2:4"]
    assert keys(resumed) == ["3:0", "3:2", "3:4"]


def test_a_batch_that_was_drawn_and_not_trained_on_comes_again() -> None:
    progress = Progress(2)
    loader = loader_of(progress)
    iterator = iter(loader)
    next(iterator)
    assert loader.state_dict() == {"epoch": 2, "samples": 0}
    progress.trained_batches = 1
    next(iterator)
    assert loader.state_dict() == {"epoch": 2, "samples": 2}
    progress.trained_batches = 2
    next(iterator)
    assert loader.state_dict() == {"epoch": 2, "samples": 4}
    progress.trained_batches = 3
    assert loader.state_dict() == {"epoch": 3, "samples": 0}


def test_a_limit_ends_an_epoch_early() -> None:
    progress = Progress(2)
    loader = loader_of(progress)
    keys(loader, 2)
    progress.trained_batches, progress.is_complete = 2, True
    assert loader.state_dict() == {"epoch": 3, "samples": 0}


def test_between_two_epochs_the_next_one_begins() -> None:
    """The trainer has reset its counters, and has not drawn from the new epoch."""
    progress = Progress(2)
    loader = loader_of(progress)
    keys(loader)
    progress.epoch, progress.trained_batches = 3, 0
    assert loader.state_dict() == {"epoch": 3, "samples": 0}


def test_a_loader_that_was_never_drawn_from_begins_with_the_trainers_epoch() -> None:
    assert loader_of(Progress(7)).state_dict() == {"epoch": 7, "samples": 0}


def test_a_resumed_pass_counts_on() -> None:
    progress = Progress(2, trained_batches=1)
    loader = loader_of(progress)
    loader.load_state_dict({"epoch": 2, "samples": 2})
    iterator = iter(loader)
    assert next(iterator)["key"] == ["2:2"]
    assert loader.state_dict() == {"epoch": 2, "samples": 2}
    progress.trained_batches = 2
    assert loader.state_dict() == {"epoch": 2, "samples": 4}


@pytest.mark.parametrize(
    ("trained", "samples", "global_batch", "limit", "after", "state"),
    [
        (1, 2, 2, 3, 1, {"epoch": 2, "samples": 2}),
        (1, 2, 1, 5, 2, {"epoch": 2, "samples": 2}),
        (3, 3, 2, 3, 2, {"epoch": 2, "samples": 3}),
        (1, 1, 4, 2, 1, {"epoch": 2, "samples": 1}),
        (3, 0, 1, 5, 5, {"epoch": 2, "samples": 0}),  # at the end of the epoch before
        (0, 0, 2, 3, 0, {"epoch": 2, "samples": 0}),
        (2, 4, 2, 2, 2, {"epoch": 3, "samples": 0}),  # all that the limit allows
    ],
)
def test_the_trainer_goes_on_after_as_many_batches_as_leave_the_rest(
    trained: int, samples: int, global_batch: int, limit: int, after: int, state: dict[str, int]
) -> None:
    progress = Progress(2, trained_batches=trained, limit=limit)
    loader = loader_of(progress, global_batch)
    loader.load_state_dict({"epoch": 2, "samples": samples})
    assert progress.trained_batches == after
    assert loader.state_dict() == state


def test_states_of_earlier_releases_count_batches() -> None:
    loader = loader_of(Progress(2, trained_batches=1))
    loader.load_state_dict({"epoch": 2, "batches": 1})
    assert loader.state_dict() == {"epoch": 2, "samples": 2}


def test_a_whole_loader_gives_what_it_holds() -> None:
    loader = WholeLoader(batches(0, 1), 5)
    assert len(loader) == 5
    assert keys(loader) == keys(loader) == ["0:1", "0:3"]


def test_an_even_loader_fills_up_with_batches_of_no_samples() -> None:
    given = [Batch(key=["a", "b"], image=torch.ones(2, 3, 4, 4)), Batch(key=["c"], image=torch.ones(1, 3, 4, 4))]
    empty = Batch(key=[], image=torch.ones(0, 3, 4, 4))
    assert [batch["key"] for batch in EvenLoader(given, 4, lambda: empty)] == [["a", "b"], ["c"], [], []]
    assert list(EvenLoader([], 1, lambda: empty)) == [empty]
