"""Shares of ranks: how many samples and batches each of them has."""

import pytest

from datamodules.ranks import RankShare


@pytest.mark.parametrize(
    ("samples", "world", "size", "training", "evaluation"),
    [(43, 1, 4, 11, 11), (43, 2, 4, 6, 6), (9, 2, 4, 2, 2), (8, 2, 4, 1, 1), (2, 3, 64, 1, 1), (0, 2, 4, 0, 0)],
)
def test_batches_of_ranks(samples: int, world: int, size: int, training: int, evaluation: int) -> None:
    share = RankShare(0, world)
    assert share.training_batches(samples, size) == training
    assert share.most_batches(samples, size) == evaluation
    assert share.global_batch(size) == size * world


def test_samples_shared_out_one_by_one() -> None:
    assert RankShare(1, 3).most_samples(7) == 3
