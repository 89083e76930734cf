"""The pool of rank processes: values by rank, groups of their own, and what is told of a rank that fails, ends or hangs."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed

from tests.helpers.ranks import RankError, RankPool


@pytest.fixture
def pool() -> Iterator[RankPool]:
    with RankPool() as pool:
        yield pool


def summed(rank: int, tensor: Tensor) -> tuple[Tensor, int]:
    total = tensor + rank
    distributed.all_reduce(total)
    return total, distributed.get_world_size()


def changing_its_process(rank: int) -> tuple[str, str, str | None]:
    before = os.environ["LOCAL_RANK"], Path.cwd().name, os.environ.get("OF_AN_EARLIER_CALL")
    os.environ["OF_AN_EARLIER_CALL"] = "1"
    os.chdir("/")
    sys.argv.append("more")
    torch.set_default_dtype(torch.float64)
    return before


def random_number(rank: int) -> float:
    return float(torch.rand(()))


def raising(rank: int, failing: int) -> None:
    if rank == failing:
        raise ValueError(f"broken on rank {rank}")
    distributed.barrier()


def ending(rank: int) -> None:
    if rank == 1:
        os._exit(3)
    distributed.barrier()


def hanging(rank: int) -> None:
    if rank == 1:
        time.sleep(600)


def test_values_come_by_rank(ranks: RankPool) -> None:
    for _ in range(2):
        for total, world_size in ranks.run(summed, torch.tensor([1.0, 2.0])):
            assert total.tolist() == [3, 5]
            assert world_size == 2


def test_calls_start_from_the_same_state(ranks: RankPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        assert ranks.run(changing_its_process, folder=tmp_path) == [(str(n), tmp_path.name, None) for n in range(2)]
    assert ranks.run(random_number) == ranks.run(random_number)
    monkeypatch.setenv("OF_AN_EARLIER_CALL", "of this process")
    assert ranks.run(changing_its_process)[1][2] == "of this process"


@pytest.mark.parametrize("failing", [0, 1])
def test_the_traceback_of_the_failing_rank_comes_first(ranks: RankPool, failing: int) -> None:
    with pytest.raises(RankError) as caught:
        ranks.run(raising, failing)
    first = str(caught.value).index(f"Rank {failing} raised:")
    assert f"ValueError: broken on rank {failing}" in str(caught.value)[first:]
    assert 'raise ValueError(f"broken' in str(caught.value)
    assert f"Rank {1 - failing} raised:" not in str(caught.value)[:first]
    assert ranks.run(summed, torch.ones(1))[0][0].tolist() == [3]


def test_a_rank_that_ends_or_hangs_is_told_of_and_replaced(pool: RankPool) -> None:
    pool.run(random_number)
    with pytest.raises(RankError, match=r"(?s)Rank 1 gave no answer in time.*in hanging"):
        pool.run(hanging, timeout=2)
    with pytest.raises(RankError, match="Rank 1 ended with exit code 3"):
        pool.run(ending)
    assert pool.run(summed, torch.ones(1))[0][0].tolist() == [3]


def test_an_unknown_argument_is_raised_where_the_call_stands(ranks: RankPool) -> None:
    with pytest.raises(RankError, match="takes 1 positional argument"):
        ranks.run(random_number, 1)
