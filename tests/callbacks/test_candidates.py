"""What is chosen among candidates does not depend on their order, nor on how many ranks see them."""

from collections import defaultdict
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import callbacks.candidates
from callbacks.candidates import Candidates


class Entry(NamedTuple):
    key: str
    picture: str = ""


ENTRIES = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 20), st.integers(0, 6)).map(lambda e: (e[0], (e[1], f"k{e[2]}"))),
    max_size=25,
)


def naive(entries: list[tuple[int, tuple[int, str]]], count: int) -> dict[int, list[str]]:
    """The first places of each group, each key once."""
    groups: dict[int, list[str]] = defaultdict(list)
    for group, (_, key) in sorted(entries):
        if key not in groups[group] and len(groups[group]) < count:
            groups[group].append(key)
    return dict(groups)


def shares_of(monkeypatch: pytest.MonkeyPatch, ranks: list[Candidates[int, Entry]]) -> list[Any]:
    """What each rank's `share` gives, where all of them meet."""
    standings: list[Any] = []

    def recorded(own: Any) -> list[Any]:
        standings.append(own)
        return [own]

    monkeypatch.setattr(callbacks.candidates, "gather_over_ranks", recorded)
    for rank in ranks:
        rank.share()
    monkeypatch.setattr(callbacks.candidates, "gather_over_ranks", lambda _own: standings)
    return [rank.share() for rank in ranks]


@given(ENTRIES, st.integers(1, 4), st.integers(1, 3), st.randoms(use_true_random=False))
def test_over_any_number_of_ranks(entries: Any, count: int, world: int, random: Any) -> None:
    shuffled = list(entries)
    random.shuffle(shuffled)
    ranks: list[Candidates[int, Entry]] = [Candidates(count) for _ in range(world)]
    for number, (group, place) in enumerate(shuffled):
        ranks[number % world].offer(group, place, Entry(place[1]))
    with pytest.MonkeyPatch.context() as monkeypatch:
        shares = shares_of(monkeypatch, ranks)
    chosen = Candidates[int, Entry](count).joined(shares)
    assert {group: [entry.key for entry in few] for group, few in chosen.items()} == naive(entries, count)


def test_only_what_is_chosen_over_all_ranks_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Candidates[int, Entry](2), Candidates[int, Entry](2)
    for place in (0, 1):
        first.offer(0, place, Entry(f"a{place}", "large"))
        second.offer(0, place + 10, Entry(f"b{place}", "large"))
    shares = shares_of(monkeypatch, [first, second])
    assert [len(share.get(0, ())) for share in shares] == [2, 0]


def test_what_is_not_wanted_need_not_be_made() -> None:
    candidates = Candidates[str, Entry](1)
    assert candidates.wants("group", 5, "a")
    candidates.offer("group", 5, Entry("a"))
    assert not candidates.wants("group", 6, "b")
    assert not candidates.wants("group", 6, "a")
    assert candidates.wants("group", 4, "b")
    assert candidates.wants("other", 6, "b")
    candidates.clear()
    assert candidates.wants("group", 6, "b")
