"""Poolings of maps, tokens and vectors, by their definitions."""

import pytest
import torch
from torch import Tensor

from vitrine.backbones.pooling import POOLINGS, pooled
from vitrine.backbones.token_kinds import TokenKinds

SIZE = torch.Size((3, 32, 48))
MAPS = torch.rand(2, 5, 4, 6, generator=torch.Generator().manual_seed(0))
LAST = MAPS.permute(0, 2, 3, 1)
TOKENS = torch.rand(2, 6, 5, generator=torch.Generator().manual_seed(1))
VECTORS = TOKENS[:, 0]
ROWS = LAST.flatten(1, 2)


def kinds(patches: tuple[int, ...] = (1, 2, 4, 5), class_token: int | None = 3) -> TokenKinds:
    return TokenKinds(patches, class_token)


CASES: list[tuple[str, Tensor, Tensor | None]] = [
    *((name, VECTORS, VECTORS) for name in POOLINGS if name not in {"positions", "tokens"}),
    *((name, VECTORS, VECTORS[:, None]) for name in ("positions", "tokens")),
    *((name, maps, MAPS.mean(dim=(2, 3))) for name in ("average", "mean_tokens") for maps in (MAPS, LAST)),
    *((name, maps, ROWS) for name in ("positions", "tokens") for maps in (MAPS, LAST)),
    *((name, maps, None) for name in ("none", "cls") for maps in (MAPS, LAST)),
    *(("flatten", activation, activation.flatten(1)) for activation in (MAPS, LAST, TOKENS, MAPS[..., None])),
    ("cls", TOKENS, TOKENS[:, 3]),
    ("mean_tokens", TOKENS, (TOKENS[:, 1] + TOKENS[:, 2] + TOKENS[:, 4] + TOKENS[:, 5]) / 4),
    ("tokens", TOKENS, TOKENS[:, [1, 2, 4, 5]]),
    *((name, TOKENS, None) for name in ("average", "positions", "none")),
    *((name, TOKENS[:, :1], VECTORS) for name in ("cls", "mean_tokens")),
    *((name, MAPS[..., None], None) for name in POOLINGS if name != "flatten"),
]


@pytest.mark.parametrize(("pooling", "activation", "expected"), CASES)
def test_poolings(pooling: str, activation: Tensor, expected: Tensor | None) -> None:
    actual = pooled(activation, pooling, SIZE, kinds)
    if expected is None:
        assert actual is None
    else:
        assert actual is not None
        torch.testing.assert_close(actual, expected)


def test_tokens_of_a_map_written_as_tokens_are_its_positions() -> None:
    tokens = torch.cat([torch.zeros(2, 1, 5), ROWS], dim=1)
    actual = pooled(tokens, "tokens", SIZE, lambda: kinds(tuple(range(1, 25)), 0))
    expected = pooled(MAPS, "positions", SIZE, kinds)
    assert actual is not None
    assert expected is not None
    torch.testing.assert_close(actual, expected)


def test_no_class_token_and_no_patches() -> None:
    assert pooled(TOKENS, "cls", SIZE, lambda: kinds(class_token=None)) is None
    for pooling in ("mean_tokens", "tokens"):
        assert pooled(TOKENS, pooling, SIZE, lambda: kinds(())) is None
