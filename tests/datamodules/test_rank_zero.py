"""Work of rank zero: done once, and its value or its failure is every rank's."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from pytorch_lightning.strategies import DDPStrategy

from datamodules import rank_zero
from datamodules.rank_zero import on_rank_zero
from tests.helpers.ranks import RankPool


def trainer_of(rank: int, world_size: int) -> Any:
    strategy = SimpleNamespace(broadcast=lambda value: DDPStrategy.broadcast(None, value))  # type: ignore[arg-type]
    return SimpleNamespace(world_size=world_size, is_global_zero=rank == 0, strategy=strategy)


def slow_work(folder: Path) -> list[int]:
    time.sleep(0.3)
    (folder / "done").open("x").close()  # a second call would fail
    return [1, 2]


def failing_work() -> None:
    raise FileNotFoundError("data/train/a.tar is gone; convert the set again.")


def broken_work() -> None:
    raise ZeroDivisionError("division")


def values_on(rank: int, folder: Path) -> tuple[Any, ...]:
    trainer = trainer_of(rank, 2)
    with patch.object(rank_zero, "SIGN_OF_LIFE_SECONDS", 0.02):
        value = on_rank_zero(trainer, lambda: slow_work(folder))
        failures = []
        for work in (failing_work, broken_work):
            with pytest.raises(ValueError, match=r"\w") as raised:
                on_rank_zero(trainer, work)
            failures.append(str(raised.value))
        return value, on_rank_zero(trainer, lambda: None), *failures


def test_both_ranks_get_the_value_or_the_sentence(ranks: RankPool, tmp_path: Path) -> None:
    one, two = ranks.run(values_on, tmp_path)
    assert one == two
    assert one[:2] == ([1, 2], None)
    assert one[2] == "data/train/a.tar is gone; convert the set again."
    assert "ZeroDivisionError" in one[3]


def test_one_rank_works_by_itself() -> None:
    trainer = SimpleNamespace(world_size=1, is_global_zero=True)
    assert on_rank_zero(trainer, lambda: 3) == 3  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        on_rank_zero(trainer, failing_work)  # type: ignore[arg-type]
