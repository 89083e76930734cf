"""Loaders that go on within an epoch after a resume, and those that give every rank the same number of batches."""

from typing import Any

import torch

from datamodules.loaders import EpochLoader, EvenLoader, WholeLoader
from vitrine.core.batch import Batch


class Trainer:
    """Where a trainer stands."""

    def __init__(self, epoch: int = 0) -> None:
        self.epoch, self.last = epoch, False

    def progress(self) -> tuple[int, bool]:
        return self.epoch, self.last


def batches(epoch: int, skip: int) -> list[Batch]:
    return [Batch(key=[f"{epoch}:{number}"]) for number in range(skip, 3)]


def keys(loader: Any, count: int | None = None) -> list[str]:
    drawn = []
    for batch in loader:
        drawn += batch["key"]
        if len(drawn) == count:
            break
    return drawn


def test_each_pass_is_the_next_epoch() -> None:
    loader = EpochLoader(batches, Trainer(4).progress, 3)
    assert len(loader) == 3
    assert keys(loader) == ["4:0", "4:1", "4:2"]
    assert keys(loader) == ["5:0", "5:1", "5:2"]


def test_a_loader_goes_on_after_the_batches_that_were_seen() -> None:
    trainer = Trainer(2)
    loader = EpochLoader(batches, trainer.progress, 3)
    assert keys(loader, 2) == ["2:0", "2:1"]
    state = loader.state_dict()
    assert state == {"epoch": 2, "batches": 2}
    resumed = EpochLoader(batches, Trainer().progress, 3)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    assert keys(resumed) == ["2:2"]
    assert keys(resumed) == ["3:0", "3:1", "3:2"]


def test_after_the_last_batch_the_next_epoch_begins() -> None:
    trainer = Trainer(2)
    loader = EpochLoader(batches, trainer.progress, 3)
    keys(loader)
    trainer.last = True
    assert loader.state_dict() == {"epoch": 3, "batches": 0}


def test_a_loader_that_was_never_drawn_from_begins_with_the_trainers_epoch() -> None:
    assert EpochLoader(batches, Trainer(7).progress, 3).state_dict() == {"epoch": 7, "batches": 0}


def test_a_whole_loader_gives_what_it_holds() -> None:
    loader = WholeLoader(batches(0, 1), 5)
    assert len(loader) == 5
    assert keys(loader) == keys(loader) == ["0:1", "0:2"]


def test_an_even_loader_fills_up_with_batches_of_no_samples() -> None:
    given = [Batch(key=["a", "b"], image=torch.ones(2, 3, 4, 4)), Batch(key=["c"], image=torch.ones(1, 3, 4, 4))]
    drawn = list(EvenLoader(given, 4))
    assert [batch["key"] for batch in drawn] == [["a", "b"], ["c"], [], []]
    assert drawn[3]["image"].shape == (0, 3, 4, 4)
