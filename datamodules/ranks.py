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
        """The largest number of samples that any rank has, where ``count`` samples are shared out."""
        return math.ceil(count / self.world_size)

    def most_batches(self, count: int, batch_size: int) -> int:
        """The largest number of batches that any rank has, where ``count`` samples are shared out."""
        return math.ceil(self.most_samples(count) / batch_size)

    def check_training_samples(self, count: int) -> None:
        """Refuses less than one training sample per rank.

        Raises:
            ValueError: where there are fewer samples than processes.
        """
        if count < self.world_size:
            raise ValueError(
                f"{count} training samples are too few for {self.world_size} processes; use fewer devices."
            )

    def training_batches(self, count: int, batch_size: int) -> tuple[int, int]:
        """How many batches of what size each rank trains on: full ones alone, or a smaller one of too few samples.

        Args:
            count: training samples of all ranks together.
            batch_size: samples in a full batch.

        Returns:
            Number of batches and their size, the same on every rank.

        Raises:
            ValueError: where there is less than one sample per rank.
        """
        self.check_training_samples(count)
        full_batches = count // (self.world_size * batch_size)
        return (full_batches, batch_size) if full_batches else (1, count // self.world_size)
