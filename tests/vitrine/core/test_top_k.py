"""The top k against a sort of all entries."""

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from vitrine.core.top_k import TopK


class Entry(NamedTuple):
    place: tuple[int, str]
    key: str


PLACES = st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abcde")), max_size=20)


@given(PLACES, st.integers(1, 4))
@settings(max_examples=150)
def test_what_is_kept_is_the_head_of_a_sort_with_one_entry_a_key(places: list[tuple[int, str]], count: int) -> None:
    top = TopK[Entry](count)
    for place in places:
        wanted, before = top.accepts(place, place[1]), list(top)
        top.add(place, Entry(place, place[1]))
        assert (list(top) != before) == wanted
        assert len(top) <= count
    first_of_key = {key: min(place for place in places if place[1] == key) for _, key in places}
    expected = sorted(first_of_key.values())[:count]
    assert [entry.place for entry in top] == expected
    assert top.last == (Entry(expected[-1], expected[-1][1]) if len(expected) == count else None)
