"""Meaningful perturbation against a naive optimisation of one image, and on a model that sees one region only."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrine.attribution.perturbation.meaningful_perturbation import (
    MeaningfulPerturbation,
    blend,
    discs,
    shifted,
    total_variation,
)
from vitrine.backbones.batch_mixing import mixes_batch
from vitrine.core.image_ops import gaussian_blur

REGION = (slice(4, 13), slice(18, 28))


class Patch(nn.Module):
    """The logit of class 1 is 8 times the mean of a region of the image, less 4; that of class 0 is 0."""

    def forward(self, images: Tensor) -> Tensor:
        logit = 8 * images[:, :, *REGION].mean(dim=(1, 2, 3)) - 4
        return torch.stack([torch.zeros_like(logit), logit], dim=1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def bright_patch() -> Tensor:
    """(1, 2, 32, 32): bright in the region and on another side of the image, dark noise elsewhere."""
    image = 0.2 * torch.rand(1, 2, 32, 32, dtype=torch.float64)
    image[:, :, *REGION] += 1
    image[:, :, 20:29, 3:12] += 1
    return image


@pytest.mark.parametrize(("centred_start", "l1"), [(True, 3e-3), (False, 1e-3)])  # ones are left by a gradient above λ₁
def test_what_is_deleted_lies_where_the_model_looks(centred_start: bool, l1: float) -> None:
    image = bright_patch()
    options = {"blur": 6.0, "mask_blur": 1.0, "grid": 16, "l1": l1, "tv": 1e-3, "iterations": 100, "jitter": 0}
    method = MeaningfulPerturbation(Patch(), centred_start=centred_start, **options)  # type: ignore[arg-type]
    maps = method.attribute(image, 1)
    assert maps.min() >= 0
    assert maps.max() <= 1
    assert maps[..., *REGION].mean() > 0.8
    assert maps[..., 0:17, 14:32].sum() > 0.97 * maps.sum()  # a mask's cell, enlarged and blurred, reaches 4 pixels far
    assert maps[..., 20:29, 3:12].mean() < 0.05
    probability = Patch()(blend(1 - maps, image, gaussian_blur(image, 6.0))).softmax(dim=1)[0, 1]
    original, blurred = Patch()(torch.cat([image, gaussian_blur(image, 6.0)])).softmax(dim=1)[:, 1]
    assert probability < blurred + 0.1 * (original - blurred)


def test_the_loss_falls() -> None:
    image = bright_patch()
    losses: list[float] = []

    class Recorded(MeaningfulPerturbation):
        def penalty(self, masks: Tensor) -> Tensor:
            penalty = super().penalty(masks)
            losses.append(float(penalty.detach()))
            return penalty

    probabilities: list[float] = []
    model = Patch()
    mixes_batch(model, image.repeat(2, 1, 1, 1))  # found once for each model, by passes of its own
    model.register_forward_hook(lambda _, __, logits: probabilities.append(float(logits.detach().softmax(dim=1)[0, 1])))
    Recorded(model, iterations=60, blur=6.0, mask_blur=1.0, grid=16, jitter=0, centred_start=False).attribute(image, 1)
    totals = [loss + probability for loss, probability in zip(losses, probabilities[1:], strict=True)]
    assert len(totals) == 60
    assert totals[-1] < 0.5 * totals[0]
    assert min(totals[-10:]) < 1.02 * min(totals)


def small_net() -> nn.Sequential:
    head = nn.Linear(24, 4)
    head.weight.data.mul_(10)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), head).double()


def naive_blur(images: Tensor, sigma: float) -> Tensor:
    """By a convolution with a wide kernel, over the same convolution of ones."""
    offsets = torch.arange(-40, 41, dtype=images.dtype)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    square = (weights[:, None] * weights)[None, None]

    def smear(channel: Tensor) -> Tensor:
        return F.conv2d(channel[None, None], square, padding=40)[0, 0]

    ones = smear(torch.ones_like(images[0, 0]))
    return torch.stack([torch.stack([smear(channel) / ones for channel in image]) for image in images])


def naive_optimum(model: nn.Module, image: Tensor, target: int, method: MeaningfulPerturbation) -> Tensor:
    """Equations of the paper and of Adam, for one image and class, from a mask of ones."""
    blurred = naive_blur(image, method.blur)
    m = torch.ones(method.grid, method.grid, dtype=image.dtype)
    first, second = torch.zeros_like(m), torch.zeros_like(m)
    generator = torch.Generator().manual_seed(method.seed)
    for step in range(1, method.iterations + 1):
        m.requires_grad_()
        enlarged = F.interpolate(m[None, None], size=image.shape[2:], mode="bilinear")
        mask = naive_blur(enlarged, method.mask_blur)
        y, x = (int(torch.randint(method.jitter, (), generator=generator)) - method.jitter // 2 for _ in range(2))
        padded = [F.pad(part, (4, 4, 4, 4), mode="replicate") for part in (image, blurred)]
        moved = [part[..., 4 - y : 4 - y + image.shape[2], 4 - x : 4 - x + image.shape[3]] for part in padded]
        probability = model(mask * moved[0] + (1 - mask) * moved[1]).softmax(dim=1)[0, target]
        loss = probability + method.l1 * (1 - m).sum() + method.tv * total_variation(m[None, None], method.beta).sum()
        (gradient,) = torch.autograd.grad(loss, m)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        change = (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
        m = (m.detach() - method.learning_rate * change).clamp(0, 1)
    return 1 - naive_blur(F.interpolate(m[None, None], size=image.shape[2:], mode="bilinear"), method.mask_blur)


def test_a_batch_equals_the_naive_optimisation_of_each() -> None:
    model, images, targets = small_net(), torch.randn(2, 3, 12, 15, dtype=torch.float64), torch.tensor([[0, 3], [2, 1]])
    options = {
        "iterations": 8,
        "grid": 5,
        "blur": 2.0,
        "mask_blur": 0.8,
        "l1": 1e-4,
        "tv": 0.05,
        "jitter": 3,
        "seed": 7,
    }
    method = MeaningfulPerturbation(model, centred_start=False, **options)  # type: ignore[arg-type]
    maps = method.attribute(images, targets)
    for b in range(2):
        for k in range(2):
            expected = naive_optimum(model, images[b : b + 1], int(targets[b, k]), method)
            torch.testing.assert_close(maps[b, k], expected[0], rtol=1e-6, atol=1e-8)
    assert maps.std() > 0.05


def test_it_starts_from_the_smallest_disc_that_is_enough() -> None:
    image = bright_patch()
    blurred = gaussian_blur(image, 6.0)
    recorded: list[float] = []
    model = Patch()
    model.register_forward_hook(lambda _, __, logits: recorded.append(float(logits.detach().softmax(dim=1)[0, 1])))
    method = MeaningfulPerturbation(
        model, iterations=1, learning_rate=1e-9, blur=6.0, mask_blur=1.0, grid=16, jitter=0, l1=0, tv=0
    )
    maps = method.attribute(image, 1)
    original, fully = (float(Patch()(images).softmax(dim=1)[0, 1]) for images in (image, blurred))
    reached = float(Patch()(blend(1 - maps, image, blurred)).softmax(dim=1)[0, 1])
    assert original - reached >= 0.99 * (original - fully) - 1e-6
    smaller = [score for score in recorded[1:] if score > reached + 1e-6]  # discs that were tried and did less
    assert all(original - score < 0.99 * (original - fully) for score in smaller)
    assert len(smaller) > 3
    middle = maps[0, 0, 14:18, 14:18]
    torch.testing.assert_close(middle, torch.ones_like(middle), atol=1e-6, rtol=0)


def test_it_starts_from_ones_where_blurring_changes_nothing() -> None:
    flat = torch.full((1, 2, 32, 32), 0.7, dtype=torch.float64)
    maps = MeaningfulPerturbation(Patch(), iterations=3, grid=8).attribute(flat, 1)
    torch.testing.assert_close(maps, torch.zeros_like(maps), atol=1e-9, rtol=0)


def test_discs_grow_from_nothing_to_all() -> None:
    for grid in (1, 7, 28):
        masks = discs(grid, torch.zeros(0, dtype=torch.float64))
        areas = (1 - masks).sum(dim=(1, 2, 3))
        assert areas[0] == 0
        assert areas[-1] == grid**2
        assert (areas.diff() >= 0).all()
        assert torch.equal(masks, masks.flip(2))
        assert torch.equal(masks, masks.mT)
    nine = (1 - discs(28, torch.zeros(0)))[9].sum().item()
    assert abs(nine - math.pi * 81) < 12


def test_a_shift_moves_the_image_and_repeats_its_border() -> None:
    images = torch.arange(12.0).view(1, 1, 3, 4)
    assert torch.equal(shifted(images, [0, 0]), images)
    expected = torch.tensor([[1.0, 2, 3, 3], [1, 2, 3, 3], [5, 6, 7, 7]])
    assert torch.equal(shifted(images, [1, -1])[0, 0], expected)


def test_the_seed_makes_the_shifts() -> None:
    model, images = small_net(), torch.randn(1, 3, 12, 12, dtype=torch.float64)
    options = {"iterations": 5, "grid": 4, "blur": 2.0, "mask_blur": 0.5}
    first, again, other, still = (
        MeaningfulPerturbation(model, seed=seed, jitter=jitter, **options).attribute(images, 1)  # type: ignore[arg-type]
        for seed, jitter in ((0, 4), (0, 4), (1, 4), (1, 1))
    )
    assert torch.equal(first, again)
    assert (first - other).abs().max() > 1e-4
    assert torch.equal(still, MeaningfulPerturbation(model, jitter=0, **options).attribute(images, 1))  # type: ignore[arg-type]


@pytest.mark.parametrize("beta", [1.0, 2.0, 3.0])
def test_total_variation_is_the_sum_over_neighbours(beta: float) -> None:
    masks = torch.rand(3, 1, 4, 6, dtype=torch.float64, requires_grad=True)
    sums = []
    for mask in masks[:, 0].tolist():
        down = sum(abs(mask[y + 1][x] - mask[y][x]) ** beta for y in range(3) for x in range(6))
        across = sum(abs(mask[y][x + 1] - mask[y][x]) ** beta for y in range(4) for x in range(5))
        sums.append(down + across)
    torch.testing.assert_close(total_variation(masks, beta), torch.tensor(sums, dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda masks: total_variation(masks, beta), masks)


@pytest.mark.parametrize("option", ["iterations", "learning_rate", "grid"])
def test_wrong_options_are_named(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option} is 0"):
        MeaningfulPerturbation(nn.Identity(), **{option: 0})  # type: ignore[arg-type]
