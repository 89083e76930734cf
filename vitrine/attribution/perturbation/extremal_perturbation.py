"""Extremal perturbation: the mask of a given area that changes the score most (Fong, Patrick and Vedaldi, ICCV 2019)."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.autograd.loss_scaling import scaled_gradients
from vitrine.attribution.perturbation.learned_mask import LearnedMask
from vitrine.attribution.perturbation.scores import Score
from vitrine.attribution.perturbation.smooth_masks import smooth_masks
from vitrine.backbones.outputs import OutputChoice
from vitrine.core.image_ops import gaussian_blur
from vitrine.core.options import Count, NonNegative, OptionError, Positive, Range, checked
from vitrine.core.precision import in_full

Variant = Literal["preserve", "delete", "dual"]
Area = Annotated[float, Range(above=0, at_most=1)]

REWARD_SIGNS: dict[Variant, tuple[int, int]] = {"preserve": (1, 0), "delete": (0, -1), "dual": (1, -1)}
"""The signs of the scores of the two perturbed inputs, m ⊗ x and (1 − m) ⊗ x, in what a variant maximises."""

INITIAL_MASK = 0.5
"""All of m̄ before the first step: halfway between both ends, so that the first steps rank pixels by their effect."""


class ExtremalPerturbation(LearnedMask):
    """The smooth mask of area a that preserves most of a score, or deletes most of it.

    m_a = argmax Φ(m ⊗ x) − λ R_a(m), R_a(m) = mean of (vecsort(m) − r_a)², where r_a has (1 − a)·HW zeros and then a·HW ones.
    Φ is the logit of a class; of a channel, its mean activation. m ⊗ x is x blurred at each pixel u by a Gaussian of
    σ = ``blur`` · (1 − m(u)). The mask is m(u) = smax_v k(u − v) m̄(v) over a grid of points v, in [0, 1]; see
    `smooth_masks`. m̄ is learned for each input, target and area by gradient descent with momentum, and clamped to [0, 1]
    after every step; λ is 0 at the first step, and grows from step to step. The map is the sum of the masks of all areas:
    (B, 1, H, W), in float32 or wider.

    The defaults of lengths in pixels are for inputs of about 224 × 224; scale them with the input.

    Args:
        model: as in `Method`.
        layer: as in `Method`.
        areas: a, a share of the image, or several, such as (0.025, 0.05, 0.1, 0.2).
        variant: ``preserve`` makes Φ(m ⊗ x) large; ``delete`` makes Φ((1 − m) ⊗ x) small; ``dual`` does both.
        iterations: steps of gradient descent.
        learning_rate: of gradient descent.
        momentum: of gradient descent.
        area_weight: λ before it grows.
        growth: factor of λ from step to step.
        step: pixels from one of the points v to the next.
        sigma: distance in pixels at which the kernel k is 1/e.
        temperature: T of the smooth maximum.
        blur: σ in pixels of the Gaussian where the mask is 0.
        levels: number of blurred images, between which is interpolated.
        progress: whether to show a progress bar on stderr.
        internal_batch_size: as in `Method`, of perturbed inputs.
        output: as in `Method`.

    Raises:
        ValueError: as in `Method`; of ``attribute`` also if no gradient leads from the score back to the perturbed input.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
        >>> method = ExtremalPerturbation(model, areas=(0.1, 0.2), iterations=3, step=2, sigma=3.0, blur=2.0)
        >>> method.attribute(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 1, 8, 8])
    """

    smoothed_for_pointing = True  # masks are flat at their maximum
    paper = "Fong, Patrick and Vedaldi 2019"
    quick_options: ClassVar[Mapping[str, Any]] = {"iterations": 3, "step": 4, "sigma": 4.0, "blur": 2.0}

    explains_probabilities = False

    @checked
    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        areas: Area | Sequence[Area] = 0.1,
        variant: Variant = "preserve",
        iterations: Count = 800,
        learning_rate: Positive = 0.01,
        momentum: NonNegative = 0.9,
        area_weight: NonNegative = 300.0,
        growth: Positive = 1.0035,
        step: Count = 7,
        sigma: Positive = 21.0,
        temperature: Positive = 0.05,
        blur: NonNegative = 20.0,
        levels: Annotated[int, Range(at_least=2)] = 8,
        progress: bool = False,
        *,
        internal_batch_size: Count | None = None,
        output: OutputChoice | None = None,
    ) -> None:
        super().__init__(model, layer, internal_batch_size=internal_batch_size, output=output)
        self.areas = [float(area) for area in areas] if isinstance(areas, Sequence) else [float(areas)]
        if not self.areas:
            raise OptionError("areas", areas, "one share of the image or more")
        self.variant = variant
        self.iterations = iterations
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.area_weight = area_weight
        self.growth = growth
        self.step = step
        self.sigma = sigma
        self.temperature = temperature
        self.blur = blur
        self.levels = levels
        self.progress = progress

    @property
    @override
    def masks_per_target(self) -> int:
        return len(self.areas)

    @override
    def learn(self, images: Tensor, mask_numbers: Tensor, score: Score, advance: Callable[[int], None]) -> Tensor:
        size, areas = images.shape[2:], torch.tensor(self.areas)[mask_numbers.cpu()]
        pyramid, ideal = blur_pyramid(images, self.blur, self.levels), ideal_masks(areas, images)
        grid = [math.ceil(length / self.step) for length in size]
        seeds = in_full(images.new_full((len(images), 1, *grid), INITIAL_MASK)).requires_grad_()
        optimizer = torch.optim.SGD([seeds], lr=self.learning_rate, momentum=self.momentum)
        for iteration in range(self.iterations):
            # At the first step all cells are equal, and sorting would rank them by place.
            weight = self.area_weight * self.growth**iteration if iteration else 0.0
            with torch.enable_grad():
                masks = self._masks(seeds, size)
                loss = (weight * area_loss(masks, ideal) - self._reward(pyramid, masks, score)).sum()
            (seeds.grad,) = scaled_gradients([loss], [seeds], [torch.ones_like(loss)])
            optimizer.step()
            seeds.detach().clamp_(0, 1)
            advance(1)
        return self._masks(seeds.detach(), size)

    def _masks(self, seeds: Tensor, size: Sequence[int]) -> Tensor:
        return smooth_masks(seeds, size, self.step, self.sigma, self.temperature)

    def _reward(self, pyramid: Tensor, masks: Tensor, score: Score) -> Tensor:
        """(R,) rewards that the variant maximises; one forward pass for each of its perturbed inputs."""
        reward = masks.new_zeros(len(masks))
        for sign, visible in zip(REWARD_SIGNS[self.variant], (masks, 1 - masks), strict=True):
            if sign:
                reward = reward + sign * score(fade(pyramid, visible))
        return reward


def ideal_masks(areas: Tensor, images: Tensor) -> Tensor:
    """r_a of (R,) areas: (1 − a)·HW zeros and then a·HW ones, (R, HW)."""
    pixels = images.shape[-2] * images.shape[-1]
    ones = (areas.double() * pixels).round()
    return in_full((torch.arange(pixels) >= pixels - ones[:, None]).to(images))


def area_loss(masks: Tensor, ideal: Tensor) -> Tensor:
    """R_a: the mean of (vecsort(m) − r_a)² of (R, 1, H, W) masks, given (R, HW) r_a: (R,).

    The mean, where the paper's equation has the sum, so that λ means the same at any size.
    """
    ordered = masks.flatten(1).sort(dim=1, stable=True).values
    return (ordered - ideal).square().mean(dim=1)


def blur_pyramid(images: Tensor, sigma: float, levels: int) -> Tensor:
    """Images blurred by Gaussians of 0 to ``sigma`` pixels in even steps: (R, levels, C, H, W) from (R, C, H, W)."""
    return torch.stack([gaussian_blur(images, sigma * level / (levels - 1)) for level in range(levels)], dim=1)


def fade(pyramid: Tensor, masks: Tensor) -> Tensor:
    """Perturbed input m ⊗ x: each pixel from the level of blur 1 − m, by linear interpolation between two levels.

    Args:
        pyramid: (R, levels, C, H, W), ever more blurred.
        masks: (R, 1, H, W) in [0, 1].

    Returns:
        (R, C, H, W).
    """
    last = pyramid.shape[1] - 1
    levels = (1 - masks) * last
    sharper = levels.detach().floor().clamp(0, last - 1)
    place = sharper.long()[:, :, None].expand(-1, -1, *pyramid.shape[2:])
    near, far = (pyramid.gather(1, place + further).squeeze(1) for further in (0, 1))
    return (near + (levels - sharper) * (far - near)).to(pyramid.dtype)
