"""Messages of which all ranks tell each once."""

import pytest

from tests.helpers.ranks import RankPool
from vitrine.core.rank_messages import is_told_here


def told_on_rank(rank: int) -> list[bool]:
    return [is_told_here("of both"), is_told_here(f"of rank {rank}"), is_told_here("of both")]


def test_of_two_ranks_one_tells_what_both_say_and_each_its_own(ranks: RankPool) -> None:
    first, second = ranks.run(told_on_rank)
    assert first[0] != second[0]
    assert first[1]
    assert second[1]
    assert not first[2]
    assert not second[2]


@pytest.mark.parametrize(("variable", "rank", "tells"), [("RANK", "1", False), ("LOCAL_RANK", "0", True)])
def test_before_ranks_know_of_each_other_rank_zero_tells(
    variable: str, rank: str, tells: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, rank)
    assert is_told_here("early") is tells
