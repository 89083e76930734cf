"""Extremal perturbation: its pieces against naive loops, its masks on a model that sees one region only."""

from itertools import product

import pytest
import torch
from torch import Tensor, nn

from vitrine.attribution.perturbation.extremal_perturbation import (
    ExtremalPerturbation,
    Variant,
    area_loss,
    blur_pyramid,
    fade,
    ideal_masks,
)
from vitrine.attribution.perturbation.smooth_masks import smooth_masks
from vitrine.core.image_ops import gaussian_blur

REGION = (slice(4, 12), slice(15, 24))


class Patch(nn.Module):
    """The logit of class 1 is the mean of a region of the image, times 8; that of class 0 its negative."""

    def forward(self, images: Tensor) -> Tensor:
        logit = 8 * images[:, :, *REGION].mean(dim=(1, 2, 3))
        return torch.stack([-logit, logit], dim=1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_the_area_loss_is_zero_for_a_mask_of_that_area_wherever_it_is() -> None:
    masks = torch.zeros(2, 1, 10, 12, dtype=torch.float64)
    masks[0, 0, 3:6, 2:6] = 1
    masks[1, 0].view(-1)[torch.randperm(120)[:48]] = 1
    assert torch.equal(area_loss(masks, ideal_masks(torch.tensor([0.1, 0.4]), masks)), torch.zeros(2).double())
    wrong = area_loss(masks, ideal_masks(torch.tensor([0.4, 0.1]), masks))
    torch.testing.assert_close(wrong, torch.tensor([0.3, 0.3], dtype=torch.float64))


def test_the_area_loss_is_the_equation() -> None:
    masks = torch.rand(3, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    ideal = ideal_masks(torch.tensor([0.25, 0.5, 1.0]), masks)
    expected = []
    for mask, ones in zip(masks.flatten(1).tolist(), (5, 10, 20), strict=True):
        template = [0.0] * (20 - ones) + [1.0] * ones
        expected.append(sum((m - r) ** 2 for m, r in zip(sorted(mask), template, strict=True)) / 20)
    torch.testing.assert_close(area_loss(masks, ideal), torch.tensor(expected, dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda masks: area_loss(masks, ideal), masks)


def test_fading_goes_from_the_image_to_its_blur() -> None:
    images = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    pyramid = blur_pyramid(images, 5.0, 6)
    assert torch.equal(fade(pyramid, torch.ones(2, 1, 9, 8).double()), images)
    torch.testing.assert_close(fade(pyramid, torch.zeros(2, 1, 9, 8).double()), gaussian_blur(images, 5.0))
    torch.testing.assert_close(fade(pyramid, torch.full((2, 1, 9, 8), 0.4).double()), gaussian_blur(images, 3.0))
    masks = torch.rand(2, 1, 9, 8, dtype=torch.float64)
    faded = fade(pyramid, masks)
    for b, y, x in product(range(2), range(9), range(8)):
        level = (1 - float(masks[b, 0, y, x])) * 5
        low = int(level)
        expected = (1 - level + low) * pyramid[b, low, :, y, x] + (level - low) * pyramid[b, low + 1, :, y, x]
        torch.testing.assert_close(faded[b, :, y, x], expected)
    assert torch.autograd.gradcheck(lambda masks: fade(pyramid, masks), masks.requires_grad_())


def test_fading_has_a_gradient_at_both_ends() -> None:
    pyramid = blur_pyramid(torch.randn(1, 3, 6, 6, dtype=torch.float64), 4.0, 3)
    for value in (0.0, 0.5, 1.0):
        masks = torch.full((1, 1, 6, 6), value, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(fade(pyramid, masks).square().sum(), masks)
        assert (gradient != 0).all()


def bright_patch() -> Tensor:
    """(1, 2, 28, 28): bright in the region and elsewhere, so that blurring the region costs, and only that."""
    image = 0.1 * torch.rand(1, 2, 28, 28, dtype=torch.float64)
    image[:, :, *REGION] += 1
    image[:, :, 18:26, 3:12] += 1
    return image


SMALL = {
    "iterations": 120,
    "step": 2,
    "sigma": 3.0,
    "blur": 8.0,
    "area_weight": 100.0,
    "growth": 1.02,
    "learning_rate": 0.05,
}


@pytest.mark.parametrize("variant", ["preserve", "delete", "dual"])
def test_the_mask_of_an_area_lies_where_the_model_looks(variant: str) -> None:
    area = 72 / 784  # of the region itself
    method = ExtremalPerturbation(Patch(), areas=area, variant=variant, **SMALL)  # type: ignore[arg-type]
    masks = method.attribute(bright_patch(), 1)
    assert masks.min() >= 0
    assert masks.max() <= 1 + 1e-12
    assert abs(float(masks.mean()) - area) < 0.03
    assert float(masks[..., *REGION].sum() / masks.sum()) > 0.65  # a sharp rectangle is no smooth mask
    assert masks[..., 18:26, 3:12].mean() < 0.02


def test_a_larger_area_preserves_more() -> None:
    image = bright_patch()
    areas = (0.03, 0.06, 0.12)
    masks = [ExtremalPerturbation(Patch(), areas=area, **SMALL).attribute(image, 1) for area in areas]  # type: ignore[arg-type]
    scores = [float(Patch()(fade(blur_pyramid(image, 8.0, 8), mask))[0, 1]) for mask in masks]
    assert scores == sorted(scores)
    for area, mask in zip(areas, masks, strict=True):
        assert abs(float(mask.mean()) - area) < 0.03


def test_masks_of_several_areas_are_summed() -> None:
    inputs, targets = torch.randn(2, 3, 10, 11, dtype=torch.float64), torch.tensor([[1, 0], [2, 2]])
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    ).double()
    options = {"iterations": 5, "step": 2, "sigma": 3.0, "blur": 3.0, "area_weight": 5.0}
    alone = [ExtremalPerturbation(model, areas=area, **options).attribute(inputs, targets) for area in (0.1, 0.3)]  # type: ignore[arg-type]
    both = ExtremalPerturbation(model, areas=[0.1, 0.3], **options).attribute(inputs, targets)  # type: ignore[arg-type]
    torch.testing.assert_close(both, alone[0] + alone[1])
    assert (alone[0] - alone[1]).abs().max() > 1e-3


@pytest.mark.parametrize("variant", ["preserve", "delete", "dual"])
def test_a_batch_equals_gradient_descent_with_momentum_on_each(variant: Variant) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    ).double()
    inputs, targets = torch.randn(2, 3, 10, 11, dtype=torch.float64), torch.tensor([2, 0])
    method = ExtremalPerturbation(
        model, areas=0.2, variant=variant, iterations=7, step=2, sigma=3.0, blur=3.0, area_weight=5.0, growth=1.1
    )
    maps = method.attribute(inputs, targets)
    for b in range(2):
        pyramid = blur_pyramid(inputs[b : b + 1], 3.0, 8)
        seeds = torch.full((1, 1, 5, 6), 0.5, dtype=torch.float64)
        velocity = torch.zeros_like(seeds)
        for step in range(7):
            seeds.requires_grad_()
            mask = smooth_masks(seeds, (10, 11), 2, 3.0, 0.05)
            saved, lost = (model(fade(pyramid, recorded))[0, targets[b]] for recorded in (mask, 1 - mask))
            reward = {"preserve": saved, "delete": -lost, "dual": saved - lost}[variant]
            template = torch.cat([torch.zeros(88), torch.ones(22)]).double()
            area_weight = 5 * 1.1**step if step else 0
            loss = area_weight * (mask.flatten().sort().values - template).square().mean() - reward
            velocity = 0.9 * velocity + torch.autograd.grad(loss, seeds)[0]
            seeds = (seeds.detach() - 0.01 * velocity).clamp(0, 1)
        torch.testing.assert_close(maps[b : b + 1], smooth_masks(seeds, (10, 11), 2, 3.0, 0.05), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "preservation"}, "variant is 'preservation'; give 'preserve', 'delete' or 'dual'"),
        ({"areas": 0.0}, "areas is 0.0"),
        ({"areas": (0.1, 1.2)}, r"areas is \(0.1, 1.2\)"),
        ({"areas": (0.1, float("nan"))}, r"areas is \(0.1, nan\)"),
        ({"areas": []}, r"areas is \[\]"),
        ({"levels": 1}, "levels is 1"),
        ({"step": 0}, "step is 0"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"growth": float("inf")}, "growth is inf"),
        ({"blur": float("nan")}, "blur is nan"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ExtremalPerturbation(nn.Identity(), **options)  # type: ignore[arg-type]
