"""Which token each cell goes into, read off linear maps that are known, merged, subsampled or mixed."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vitrine.attribution.token_places import exact_places, likely_places, one_token_a_block, subsampled

LIKE = torch.zeros(0)


def vjp_of(weights: Tensor, size: tuple[int, int]) -> Callable[[Tensor], Tensor]:
    """The VJP, of three channels, from N tokens that are (N, h · w) weighted sums of cells."""
    noise = torch.randn(3, len(weights), generator=torch.Generator().manual_seed(0))
    return lambda selected: ((noise * selected) @ weights).unflatten(1, size)


@pytest.mark.parametrize("prefix", [0, 1, 3])
def test_a_permutation_is_read_exactly(prefix: int) -> None:
    order = torch.randperm(15, generator=torch.Generator().manual_seed(1))
    weights = torch.cat([torch.zeros(prefix, 15), torch.eye(15)[order]])
    places = exact_places(vjp_of(weights, (3, 5)), 15 + prefix, LIKE)
    assert places is not None
    assert torch.equal(places.flatten(), prefix + order.argsort())


def test_mixed_tokens_have_no_exact_places_but_likely_ones() -> None:
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    for weights, expected in ((torch.eye(16), torch.arange(16)), (torch.eye(16)[order], order.argsort())):
        mixed = vjp_of(weights + 0.05, (4, 4))
        assert exact_places(mixed, 16, LIKE) is None
        places = likely_places(mixed, 16, (4, 4), torch.device("cpu"))
        assert places is not None
        assert torch.equal(places.flatten(), expected)


def test_tokens_of_merged_cells_lie_on_the_coarser_grid() -> None:
    cells = torch.arange(64).view(8, 8)
    token = (cells // 8 // 2) * 4 + cells % 8 // 2
    weights = torch.cat([torch.full((1, 64), 0.02), torch.eye(16)[token.flatten()].T + 0.02])  # a class token first
    places = likely_places(vjp_of(weights, (8, 8)), 17, (4, 4), torch.device("cpu"))
    assert places is not None
    assert torch.equal(places.flatten(), 1 + torch.arange(16))


def test_tokens_that_are_alike_and_cells_without_token_have_no_likely_places() -> None:
    alike = torch.ones(16, 16) + 1e-3 * torch.randn(16, 16, generator=torch.Generator().manual_seed(2))
    assert likely_places(vjp_of(alike, (4, 4)), 16, (4, 4), torch.device("cpu")) is None
    dropped = torch.eye(16)
    dropped[:, 5] = 0
    assert likely_places(vjp_of(dropped, (4, 4)), 16, (4, 4), torch.device("cpu")) is None


def test_blocks_of_one_token() -> None:
    blocks = torch.tensor([[4, 2, 0], [1, 3, 5]])
    places = blocks.repeat_interleave(2, dim=0).repeat_interleave(3, dim=1)
    assert torch.equal(one_token_a_block(places, (2, 3)), blocks)  # type: ignore[arg-type]
    assert one_token_a_block(places, (2, 1)) is None


def test_every_second_cell() -> None:
    places = torch.full((5, 4), -1)
    places[::2, 1::2] = torch.arange(6).view(3, 2)
    assert torch.equal(subsampled(places), torch.arange(6).view(3, 2))  # type: ignore[arg-type]
    assert torch.equal(subsampled(torch.arange(6).view(3, 2)), torch.arange(6).view(3, 2))  # type: ignore[arg-type]
    without_first = places.clone()
    without_first[0] = -1
    assert subsampled(without_first) is None
    irregular = places.clone()
    irregular[0, 1] = -1
    assert subsampled(irregular) is None
    assert subsampled(torch.full((2, 2), -1)) is None
