"""A rank process of `RankPool`: ``python -m tests.helpers.rank_process RANK FD`` serves calls from a pipe until it closes."""

import faulthandler
import os
import pickle
import random
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import Connection

import numpy as np
import torch
from torch import distributed

from tests.helpers.ranks import Call, Reply


@contextmanager
def process_group(rank: int, call: Call) -> Iterator[None]:
    """Within it, this process is a rank of a group that nothing else has used."""
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{call.rendezvous}",
        rank=rank,
        world_size=call.world_size,
        timeout=timedelta(seconds=call.timeout),
    )
    try:
        distributed.barrier()  # a rank that is done at once would close connections that others are still making
        yield
    finally:
        distributed.destroy_process_group()


@contextmanager
def state_put_back() -> Iterator[None]:
    """Puts back environment, working directory, arguments and the default type of tensors."""
    environment, folder, arguments, dtype = dict(os.environ), os.getcwd(), list(sys.argv), torch.get_default_dtype()  # noqa: PTH109
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        sys.argv[:] = arguments
        torch.set_default_dtype(dtype)


def seed_generators() -> None:
    """The same random numbers whatever ran before."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


def reply_to(rank: int, call: Call) -> Reply:
    """What the function of a call gives on this rank, or how it failed."""
    variables = {"RANK": rank, "LOCAL_RANK": rank, "NODE_RANK": 0, "WORLD_SIZE": call.world_size}
    with state_put_back():
        os.environ.clear()
        os.environ.update(call.environment | {name: str(value) for name, value in variables.items()})
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        os.chdir(call.folder)
        seed_generators()
        function, arguments, options = pickle.loads(call.work)
        with process_group(rank, call), failures_as_replies() as replies:
            replies.append(Reply(pickle.dumps(function(rank, *arguments, **options))))
    return replies[0]


@contextmanager
def failures_as_replies() -> Iterator[list[Reply]]:
    """Makes a reply of what is raised within, also of ``SystemExit`` and ``pytest.fail``."""
    replies: list[Reply] = []
    try:
        yield replies
    except BaseException:  # noqa: BLE001 - raised again where the call came from
        replies.append(Reply(traceback=traceback.format_exc(), failed_at=time.monotonic()))


def serve(rank: int, connection: Connection) -> None:
    """Replies to calls until the other end is closed."""
    while True:
        try:
            call = pickle.loads(connection.recv_bytes())
        except EOFError:
            return
        with failures_as_replies() as replies:
            replies.append(reply_to(rank, call))
        connection.send_bytes(pickle.dumps(replies[0]))


if __name__ == "__main__":
    torch.set_num_threads(1)
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    serve(int(sys.argv[1]), Connection(int(sys.argv[2])))
