"""Tasks in this process and in workers: results in order, progress, and the first error."""

import os
import time

import pytest

from vitrine.data.shards.pool import Advance, run_tasks


def squared(task: int, advance: Advance) -> int:
    advance()
    return task**2


def broken_at_two(task: int, advance: Advance) -> int:
    if task == 2:
        raise ValueError("task 2 is broken")
    for _ in range(1000):
        advance()
        time.sleep(0.01)
    return task


def killed(task: int, advance: Advance) -> int:
    os.kill(os.getpid(), 9)
    return task


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_come_in_the_order_of_the_tasks(workers: int) -> None:
    tasks = [5, 3, 4]
    assert run_tasks(squared, tasks, workers=workers, total=3, title="squares") == [25, 9, 16]


@pytest.mark.parametrize("workers", [0, 2])
def test_no_tasks_give_no_results(workers: int) -> None:
    assert run_tasks(squared, [], workers=workers, total=0, title="nothing") == []


def test_one_task_stays_in_this_process() -> None:
    assert run_tasks(process_id, [0], workers=4, total=1, title="one") == [os.getpid()]
    others = run_tasks(process_id, [0, 1], workers=2, total=2, title="two")
    assert os.getpid() not in others


def process_id(_task: int, advance: Advance) -> int:
    advance()
    return os.getpid()


def test_an_error_stops_the_other_tasks() -> None:
    start = time.monotonic()
    with pytest.raises(ValueError, match="task 2 is broken"):
        run_tasks(broken_at_two, [1, 2], workers=2, total=2000, title="broken")
    assert time.monotonic() - start < 9  # the other task alone takes ten seconds


def test_a_killed_worker_is_told() -> None:
    with pytest.raises(ChildProcessError, match=r"worker process was killed.*--workers"):
        run_tasks(killed, [1, 2], workers=2, total=2, title="killed")
