"""Many tiny samples in many shards, read over ranks and workers: distinct keys, memory, open files, shuffle quality."""

from typing import NamedTuple

import numpy as np

from datamodules.split import Rows


class ShuffleQuality(NamedTuple):
    """How far an order is from the set's own order; a full permutation has 1/3 and shard size over set size."""

    displacement: float
    """Mean distance of a sample from its place in the set, over the size of the set."""
    same_shard: float
    """Share of consecutive samples that come from one shard."""


def shuffle_quality(order: Rows, shard_size: int) -> ShuffleQuality:
    """Measures the order of a set whose shards hold ``shard_size`` samples each."""
    displacement = np.abs(order - np.arange(len(order))).mean() / len(order)
    shards = order // shard_size
    return ShuffleQuality(float(displacement), float((shards[1:] == shards[:-1]).mean()))
