"""Connected components against scipy."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from vitrine.metrics.functional import connected_components, largest_component


def spiral(side: int) -> torch.Tensor:
    """(side, side) bool: one line of one pixel's width that winds inwards."""
    on = torch.zeros(side, side, dtype=torch.bool)
    y, x, dy, dx = 0, 0, 0, 1
    on[0, 0] = True
    for length in [side - 1, *(n for n in range(side - 1, 0, -2) for _ in range(2))]:
        for _ in range(length):
            y, x = y + dy, x + dx
            on[y, x] = True
        dy, dx = dx, -dy
    return on


@given(seed=st.integers(0, 10_000), share=st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9, 1.0]))
def test_components_are_those_of_scipy(seed: int, share: float) -> None:
    on = torch.rand(3, 11, 14, generator=torch.Generator().manual_seed(seed)) < share
    for found, map_ in zip(connected_components(on), on, strict=True):
        labels, count = ndimage.label(map_.numpy(), structure=[[1] * 3] * 3)
        pairs = set(zip(found.flatten().tolist(), labels.flatten().tolist(), strict=True))
        assert len(pairs) == count + bool((~map_).any())
        for first, label in pairs:
            assert first == (labels == label).ravel().argmax() if label else first == map_.numel()


@given(seed=st.integers(0, 10_000))
def test_the_largest_is_that_of_scipy(seed: int) -> None:
    on = torch.rand(2, 9, 12, generator=torch.Generator().manual_seed(seed)) < 0.25
    for found, map_ in zip(largest_component(on), on, strict=True):
        labels, count = ndimage.label(map_.numpy(), structure=[[1] * 3] * 3)
        sizes = [(labels == label).sum() for label in range(1, count + 1)]
        expected = labels == 1 + sizes.index(max(sizes)) if count else labels > 0
        assert (found.numpy() == expected).all()


def test_corners_connect_and_gaps_do_not() -> None:
    on = torch.eye(4, dtype=torch.bool)
    assert connected_components(on[None])[0][on].tolist() == [0] * 4
    on[1, 1] = False
    assert connected_components(on[None])[0][on].tolist() == [0, 10, 10]


def test_the_first_of_equals_is_the_largest() -> None:
    on = torch.tensor([[[0, 1, 0, 1], [0, 1, 0, 1]]]).bool()
    assert largest_component(on).int().tolist() == [[[0, 1, 0, 0], [0, 1, 0, 0]]]
    assert not largest_component(torch.zeros(2, 3, 3, dtype=torch.bool)).any()


@pytest.mark.parametrize("side", [21, 61])
def test_a_long_line_is_one_component(side: int) -> None:
    line = spiral(side)
    assert int(line.sum()) < line.numel() * 0.6
    assert connected_components(line[None])[0][line].unique().tolist() == [0]
    assert torch.equal(largest_component(line[None])[0], line)
