"""Shares of samples: how many samples and batches each rank of a distributed run gets."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class RankShare:
    """One process of a distributed run, and the share of the samples that it reads.

    Args:
        rank: of this process. It is taken in the main process, since spawned workers do not know it.
        world_size: number of processes.
    """

    rank: int = 0
    world_size: int = 1

    def most_samples(self, count: int) -> int:
        """The largest number of samples that any rank has, where ``count`` samples are shared out one by one."""
        return math.ceil(count / self.world_size)

    def most_batches(self, count: int, batch_size: int) -> int:
        """The largest number of batches that any rank has, where whole batches of ``count`` samples are dealt out."""
        return math.ceil(math.ceil(count / batch_size) / self.world_size)

    def global_batch(self, batch_size: int) -> int:
        """Samples in a full batch of all ranks together, where each rank has ``batch_size``."""
        return batch_size * self.world_size

    def training_batches(self, count: int, batch_size: int) -> int:
        """How many batches each rank trains on, where ``count`` samples are shared out; the last one may be smaller."""
        return math.ceil(count / self.global_batch(batch_size))
