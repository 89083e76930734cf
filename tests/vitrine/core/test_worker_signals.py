"""A loader's worker goes on where the whole job is signalled, and ends with its parent."""

import multiprocessing as mp
import os
import signal
import time
from multiprocessing.connection import Connection
from typing import Any

from torch.utils.data import DataLoader

from vitrine.core.worker_signals import LEFT_TO_PARENT, leave_signals_to_parent


def _signal_the_others(connection: Connection, others: list[int]) -> None:
    for pid in others:
        for number in LEFT_TO_PARENT:
            os.kill(pid, number)
    connection.send("done")


def test_a_worker_outlives_signals_that_do_not_come_from_its_parent() -> None:
    samples: Any = range(64)
    loader: DataLoader[int] = DataLoader(samples, batch_size=4, num_workers=2, worker_init_fn=leave_signals_to_parent)
    batches = iter(loader)
    next(batches)
    workers = [worker.pid for worker in mp.active_children() if worker.pid]
    own, remote = mp.Pipe()
    stranger = mp.get_context("spawn").Process(target=_signal_the_others, args=(remote, workers))
    stranger.start()
    assert own.recv() == "done"
    stranger.join()
    time.sleep(0.1)
    assert sum(len(batch) for batch in batches) == 60


def test_a_worker_ends_when_its_parent_says_so() -> None:
    worker = mp.get_context("spawn").Process(target=_wait_deaf)
    worker.start()
    time.sleep(1)
    for _ in range(100):
        worker.terminate()
        worker.join(0.1)
    assert worker.exitcode in {0, -signal.SIGTERM}  # the second where it had not begun yet


def _wait_deaf() -> None:
    leave_signals_to_parent()
    time.sleep(600)
