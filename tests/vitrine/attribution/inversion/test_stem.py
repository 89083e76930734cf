"""The first convolution of masked images, against the convolution of Φ and Φ_bg themselves."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitrine.attribution.inversion.frozen_conv import FrozenConv
from vitrine.attribution.inversion.stem import Stem, can_be_stem, given

KINDS: list[dict[str, Any]] = [
    {"kernel_size": 7, "stride": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 4, "stride": 4, "bias": False},
    {"kernel_size": 11, "stride": 4, "padding": 2},
    {"kernel_size": 1, "stride": 3},
]


def images(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(len(shape)))


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("activation", [None, nn.ReLU(), nn.ReLU6()], ids=str)
@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("size", [(23, 26), (24, 24)])
def test_it_is_the_convolution_of_masked_images(
    kind: Any, activation: nn.Module | None, both: bool, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 8, **kind).double()
    x, p = images(2, 3, *size), images(2, 3, *size).flip(0)
    masks = torch.rand(2, 1, *size, dtype=torch.float64, requires_grad=True)
    shown = masks * x + (1 - masks) * p
    if both:
        shown = torch.cat([shown, (1 - masks) * x + masks * p])
    expected = conv(shown) if activation is None else activation(conv(shown))
    stem = Stem(FrozenConv(conv, activation))
    found = stem.masked(masks, stem.terms(x, p), both=both)
    cotangent = torch.randn_like(expected)
    torch.testing.assert_close(found, expected)
    (wanted,) = torch.autograd.grad(expected, masks, cotangent)
    (gradient,) = torch.autograd.grad(found, masks, cotangent)
    torch.testing.assert_close(gradient, wanted)


def test_rows_of_terms() -> None:
    stem = Stem(FrozenConv(nn.Conv2d(3, 8, 3).double()))
    terms = stem.terms(images(3, 3, 9, 9), images(3, 3, 9, 9))
    for part in (slice(1, 3), torch.tensor([2, 0])):
        assert all(torch.equal(one, whole[part]) for one, whole in zip(terms.rows(part), terms, strict=True))


def test_under_autocast_it_is_in_half_precision() -> None:
    x = images(2, 3, 16, 16, dtype=torch.float32)
    stem = Stem(FrozenConv(nn.Conv2d(3, 8, 3), nn.ReLU()))
    masks = torch.rand(2, 1, 16, 16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = stem.masked(masks, stem.terms(x, 0 * x), both=True)
        expected = stem(torch.cat([masks * x, (1 - masks) * x]))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.04)
    (gradient,) = torch.autograd.grad(found.sum(), masks)
    (wanted,) = torch.autograd.grad(expected.sum(), masks)
    assert gradient.dtype == torch.float32
    assert float((gradient - wanted).norm() / wanted.norm()) < 0.05


def test_it_gives_what_it_is_told_to_inside_the_context_alone() -> None:
    stem, x = Stem(FrozenConv(nn.Conv2d(3, 8, 3).double())), images(1, 3, 9, 9)
    told = torch.zeros(2)

    def fail() -> None:
        with given(told):
            assert stem(x) is told
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert stem(x).shape == (1, 8, 7, 7)


def test_what_cannot_be_a_stem() -> None:
    assert can_be_stem(nn.Conv2d(3, 8, 3, stride=2))
    assert not can_be_stem(nn.Conv2d(3, 6, 3, groups=3))
    assert not can_be_stem(nn.Conv2d(3, 8, 3, dilation=2))
    assert not can_be_stem(nn.Conv2d(3, 8, (3, 1)))
    assert not can_be_stem(nn.Conv2d(3, 8, 3, stride=(1, 2)))
