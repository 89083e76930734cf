"""Norms of channels: those of plain Python, for every type, memory format and number of blocks."""

import pytest
import torch
from torch import Tensor

from vitrine.filters import channel_norms as module
from vitrine.filters.channel_norms import channel_norms

FORMATS = {
    "contiguous": lambda maps: maps,
    "channels last": lambda maps: maps.contiguous(memory_format=torch.channels_last),
    "moved": lambda maps: maps.permute(0, 2, 3, 1).contiguous().movedim(3, 1),
    "every second": lambda maps: maps.repeat_interleave(2, dim=3)[..., ::2],
}


def naive(maps: Tensor) -> list[list[float]]:
    rows = maps.double().flatten(2).tolist()
    return [[sum(value**2 for value in channel) ** 0.5 for channel in image] for image in rows]


@pytest.mark.parametrize("block", [1, 200, 2**19])
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_they_are_those_of_plain_python(
    dtype: torch.dtype, name: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    maps = FORMATS[name](torch.randn(5, 4, 6, 7, generator=torch.Generator().manual_seed(0)).to(dtype))
    before, norms = maps.clone(), channel_norms(maps)
    assert norms.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(norms, torch.tensor(naive(maps), dtype=norms.dtype), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(channel_norms(maps, squared=True), norms.square(), rtol=1e-6, atol=1e-7)
    assert torch.equal(maps, before)


def test_vectors_tokens_and_no_images() -> None:
    assert torch.equal(channel_norms(torch.tensor([[-2.0, 3.0]])), torch.tensor([[2.0, 3.0]]))
    assert torch.equal(channel_norms(torch.tensor([[-2.0, 3.0]]), squared=True), torch.tensor([[4.0, 9.0]]))
    tokens = torch.randn(2, 7, 3).movedim(2, 1)  # (B, C, N)
    torch.testing.assert_close(channel_norms(tokens), tokens.square().sum(dim=2).sqrt())
    assert channel_norms(torch.zeros(0, 4, 3, 3)).shape == (0, 4)


def test_autocast_changes_nothing() -> None:
    maps = torch.randn(2, 3, 5, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(channel_norms(maps), channel_norms(maps.clone()))
        assert channel_norms(maps.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("squared", [False, True])
def test_gradients(squared: bool) -> None:
    maps = torch.randn(2, 3, 2, 2, dtype=torch.float64).contiguous(memory_format=torch.channels_last).requires_grad_()
    assert torch.autograd.gradcheck(lambda values: channel_norms(values, squared=squared), [maps])
