"""Messages of which all ranks of a run tell each once."""

import hashlib
import os
from contextlib import suppress
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

import torch.distributed as dist

if TYPE_CHECKING:  # a torch without distributed has none
    from torch._C._distributed_c10d import Store

RANK_VARIABLES = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
"""What launchers say of a process before it has joined its run, the first that is there."""
SECONDS = 5.0
"""How long the run's store is waited for."""


def is_told_here(text: str) -> bool:
    """Whether this rank is the first of its run that asks for a text; rank zero, before the ranks know of each other.

    Example:
        >>> is_told_here("A single process tells what it has to tell.")
        True
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return int(next(filter(None, map(os.environ.get, RANK_VARIABLES)), 0)) == 0
    with suppress(RuntimeError):  # the store is gone where rank zero has ended
        key = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
        # There is no public way to the store.
        return _own(dist.distributed_c10d._get_default_store(), os.getpid()).add(f"vitrine/told/{key}", 1) == 1  # noqa: SLF001
    return True


@lru_cache(maxsize=1)
def _own(store: "Store", process: int) -> "Store":  # noqa: ARG001 - a forked worker needs a connection of its own
    """A connection of this process's own to the run's store: the other one may be waiting."""
    own = store.clone()
    own.set_timeout(timedelta(seconds=SECONDS))
    return own
