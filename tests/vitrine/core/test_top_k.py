"""The first few against a sort of all."""

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from vitrine.core.top_k import FirstFew


class Entry(NamedTuple):
    place: tuple[int, str]
    key: str


PLACES = st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abcde")), max_size=20)


@given(PLACES, st.integers(1, 4))
@settings(max_examples=150)
def test_what_is_kept_is_the_head_of_a_sort_with_one_entry_a_key(places: list[tuple[int, str]], count: int) -> None:
    few = FirstFew[Entry](count)
    for place in places:
        wanted, before = few.wants(place, place[1]), list(few)
        few.offer(place, Entry(place, place[1]))
        assert (list(few) != before) == wanted
        assert len(few) <= count
    first_of_key = {key: min(place for place in places if place[1] == key) for _, key in places}
    expected = sorted(first_of_key.values())[:count]
    assert [entry.place for entry in few] == expected
    assert few.last == (Entry(expected[-1], expected[-1][1]) if len(expected) == count else None)
