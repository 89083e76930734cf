"""Shares of ranks: how many samples and batches each of them has."""

import pytest

from datamodules.ranks import RankShare


@pytest.mark.parametrize(
    ("samples", "world", "batch_size", "expected"),
    [(43, 1, 4, (10, 4)), (43, 2, 4, (5, 4)), (8, 2, 4, (1, 4)), (7, 2, 4, (1, 3)), (2, 2, 64, (1, 1))],
)
def test_full_batches_alone_or_one_smaller_one(
    samples: int, world: int, batch_size: int, expected: tuple[int, int]
) -> None:
    assert RankShare(0, world).training_batches(samples, batch_size) == expected


def test_less_than_a_sample_a_rank_is_refused() -> None:
    with pytest.raises(ValueError, match="1 training samples are too few for 2 processes"):
        RankShare(0, 2).training_batches(1, 4)
