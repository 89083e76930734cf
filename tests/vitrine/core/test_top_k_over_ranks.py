"""The images that are kept against a sort of all of them."""

import math
import random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.helpers.ranks import RankPool
from vitrine.core.top_k import TopImage, TopImages, no_locations

# Few values, so that many are equal; few of them are no response at all.
VALUES = st.sampled_from([0.0, -1.0, math.nan, 0.25, 0.5, 0.5, 0.75, 1.0, 3.0])
TABLES = st.integers(1, 4).flatmap(
    lambda filters: st.lists(st.lists(VALUES, min_size=filters, max_size=filters), min_size=1, max_size=25)
)


def naive(table: Tensor, keys: list[str], count: int) -> list[list[tuple[float, str]]]:
    """Sorts all images that respond, for each filter."""
    return [
        sorted(((float(v), key) for v, key in zip(column, keys, strict=True) if v > 0), key=lambda e: (-e[0], e[1]))[
            :count
        ]
        for column in table.T
    ]


def names(count: int) -> list[str]:
    """Keys in no order."""
    return [f"image-{(7 * n) % 31:02d}" for n in range(count)]


def places(table: Tensor, keys: list[str]) -> Tensor:
    """A location that tells image and filter."""
    rows = torch.tensor([int(key[-2:]) for key in keys])
    return torch.stack([rows[:, None].expand(table.shape), torch.arange(table.shape[1]).expand(table.shape)], dim=2)


def kept(top: TopImages) -> list[list[tuple[float, str]]]:
    return [[(image.response, image.key) for image in top[number]] for number in range(len(top))]


def filled(table: Tensor, keys: list[str], count: int, batch: int) -> TopImages:
    top = TopImages(count, table.shape[1])
    for start in range(0, len(table), batch):
        part = slice(start, start + batch)
        top.update(table[part], keys[part], places(table[part], keys[part]))
        assert all(len(top[number]) <= count for number in range(len(top)))
    return top


@given(TABLES, st.integers(1, 6), st.integers(1, 7), st.integers(0, 100))
@settings(max_examples=150)
def test_what_is_kept_is_the_head_of_a_sort(values: list[list[float]], count: int, batch: int, seed: int) -> None:
    table, keys = torch.tensor(values), names(len(values))
    expected = naive(table, keys, count)
    top = filled(table, keys, count, batch)
    assert kept(top) == expected
    for number in range(len(top)):
        assert all(image.location == (int(image.key[-2:]), number) for image in top[number])

    order = random.Random(seed).sample(range(len(keys)), len(keys))  # noqa: S311
    assert kept(filled(table[order], [keys[n] for n in order], count, batch + 1)) == expected


@given(TABLES, st.integers(1, 6), st.integers(1, 4))
@settings(max_examples=80)
def test_shares_that_overlap_are_merged_into_the_whole(values: list[list[float]], count: int, shares: int) -> None:
    table, keys = torch.tensor(values), names(len(values))
    parts = [sorted({*range(share, len(keys), shares), 0}) for share in range(shares)]  # all have seen the first image
    merged = TopImages(count, table.shape[1])
    merged.merge(filled(table[part], [keys[n] for n in part], count, 3) for part in parts)
    assert kept(merged) == naive(table, keys, count)


def test_an_image_that_comes_twice_counts_once() -> None:
    top = TopImages(3, 1)
    for _ in range(2):
        top.update(torch.tensor([[0.5], [0.7]]), ["b", "a"], no_locations(2, 1))
    top.update(torch.tensor([[0.6]]), ["b"], no_locations(1, 1))  # the larger of what it was seen with
    assert top[0] == [TopImage(torch.tensor(0.7).item(), "a", None), TopImage(torch.tensor(0.6).item(), "b", None)]


def test_ties_go_to_the_smaller_key() -> None:
    top = TopImages(2, 1)
    for key in ("c", "a", "d", "b"):
        top.update(torch.ones(1, 1), [key], no_locations(1, 1))
    assert [image.key for image in top[0]] == ["a", "b"]


def test_half_precision_responses_are_kept_as_they_are() -> None:
    top = TopImages(1, 1)
    top.update(torch.tensor([[0.1]], dtype=torch.bfloat16), ["a"], no_locations(1, 1))
    assert top[0][0].response == torch.tensor(0.1, dtype=torch.bfloat16).item()


def test_top_k_below_one() -> None:
    with pytest.raises(ValueError, match="top_k is 0; give"):
        TopImages(0, 1)


def problem() -> tuple[Tensor, list[str]]:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 6, (23, 5), generator=generator) / 5, names(23)


def kept_on_rank(rank: int) -> tuple[Any, dict[str, list[int]]]:
    table, keys = problem()
    own = [*range(9), 22] if rank == 0 else [*range(9, 23)]  # both see the last image
    top = filled(table[own], [keys[n] for n in own], 4, 3)
    top.merge_over_ranks()
    return kept(top), {key: sorted(n for n, _ in found) for key, found in top.of_rank(rank).items()}


def test_two_ranks_keep_what_one_keeps(ranks: RankPool) -> None:
    table, keys = problem()
    (first, mine), (second, yours) = ranks.run(kept_on_rank)
    assert first == second == naive(table, keys, 4)
    # Each image is in the charge of one rank that saw it, for all the filters that keep it.
    expected = filled(table, keys, 4, 23).of_rank(0)
    assert set(mine) | set(yours) == set(expected)
    assert not set(mine) & set(yours)
    assert set(mine) <= {keys[n] for n in [*range(9), 22]}
    assert mine | yours == {key: sorted(n for n, _ in found) for key, found in expected.items()}
    alone = filled(table, keys, 4, 23)
    alone.merge_over_ranks()
    assert kept(alone) == first
