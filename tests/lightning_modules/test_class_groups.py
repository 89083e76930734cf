"""Classes dealt out to ranks and fitted group after group, and the memory that a fit takes."""

import pytest
import torch

from lightning_modules.class_groups import ClassGroups, amount, fit_bytes, free_bytes


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


def test_a_fit_holds_weights_gradients_moments_and_activations() -> None:
    assert fit_bytes(parameters=1000, trained=100, activations=10) == 4 * (1000 + 3 * 100 + 10)


def test_the_system_says_what_is_free() -> None:
    free = free_bytes(torch.device("cpu"))
    assert free is None or free > 2**20
    assert free_bytes(torch.device("meta")) is None


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (7, "7"),
        (999, "999"),
        (12_300, "12.3 k"),
        (12_300_000, "12.3 M"),
        (4.56e9, "4.56 G"),
        (4e12, "4e+03 G"),
    ],
)
def test_counts_have_a_unit(count: float, text: str) -> None:
    assert amount(count) == text
