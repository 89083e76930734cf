"""Classes dealt out to ranks and fitted group after group."""

import pytest

from lightning_modules.class_groups import ClassGroups


@pytest.mark.parametrize(
    ("classes", "at_once", "world"), [(7, 2, 1), (7, 2, 2), (7, 3, 3), (4, 4, 1), (2, 5, 4), (1, 1, 2)]
)
def test_every_class_is_fitted_once_by_its_owner(classes: int, at_once: int, world: int) -> None:
    ranks = [ClassGroups(classes, at_once, rank, world) for rank in range(world)]
    fitted = []
    for groups in ranks:
        for group in range(groups.count):
            rows = groups.rows(group)
            assert len(rows) <= at_once
            assert all(groups.owner(row) == groups.rank for row in rows)
            fitted += rows
        assert groups.rows(groups.count) == []
    assert sorted(fitted) == list(range(classes))
    assert len({groups.count for groups in ranks}) == 1


def test_what_was_begun_is_that_of_all_ranks_up_to_a_group() -> None:
    ranks = [ClassGroups(7, 2, rank, 2) for rank in range(2)]
    for group in range(ranks[0].count):
        expected = sorted(row for groups in ranks for before in range(group + 1) for row in groups.rows(before))
        assert ranks[0].begun(group) == expected
