"""Draws of a masking fit: of each image alone, and in the shares that were asked for."""

import torch

from vitrine.core.image_ops import gaussian_blur
from vitrine.explainers.masking.draws import NOISE, drawn
from vitrine.explainers.masking.losses import MaskingLosses

KEYS = [f"image{number}" for number in range(200)]


def test_draws_are_those_of_each_row_alone() -> None:
    images, classes = torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 1])
    losses = MaskingLosses(fake_share=0.5)
    together = drawn(images, classes, KEYS[:4], 3, 5, losses)
    for row in range(4):
        part = slice(row, row + 1)
        alone = drawn(images[part], classes[part], KEYS[part], 3, 5, losses)
        assert all(torch.equal(a[part], b) for a, b in zip(together, alone, strict=True))
    other = drawn(images, classes, KEYS[:4], 4, 5, losses)
    assert not torch.equal(together.background, other.background)


def test_shares_of_fake_classes_and_kinds_of_backgrounds() -> None:
    images, classes = torch.randn(200, 1, 8, 8), torch.arange(200) % 5
    draws = drawn(images, classes, KEYS, 0, 5, MaskingLosses(fake_share=0.3))
    assert 40 <= int(draws.is_fake.sum()) <= 80
    assert torch.equal(draws.classes != classes, draws.is_fake)
    assert set(draws.classes[draws.is_fake].tolist()) == set(range(5))
    blurred = (draws.background == gaussian_blur(images, 11.0)).flatten(1).all(dim=1)
    assert 75 <= int(blurred.sum()) <= 125
    colours = draws.background[~blurred].flatten(1)
    assert abs(float(colours.std(dim=1).mean()) - NOISE) < 0.02
    assert 0.7 < float(colours.mean(dim=1).std()) < 1.3


def test_fixed_backgrounds_and_one_class() -> None:
    images, classes = torch.randn(3, 3, 8, 8), torch.zeros(3, dtype=torch.int64)
    draws = drawn(images, classes, KEYS[:3], 0, 1, MaskingLosses(background="mean", fake_share=1.0))
    assert not draws.background.any()
    assert not draws.is_fake.any()
    assert not draws.classes.any()
