"""Extremal perturbation: the mask of a given area that changes a score most (Fong, Patrick and Vedaldi, ICCV 2019)."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.perturbation.learned_mask import LearnedMask
from vitrine.attribution.perturbation.perturbations import Score, check_positive
from vitrine.core.image_ops import gaussian_blur, interpolation_matrix, separable_filter
from vitrine.core.precision import in_full

# Which of the two perturbed inputs a variant looks at, and whether its score is to rise: (seen through m, through 1 − m).
VARIANTS = {"preserve": (1, 0), "delete": (0, -1), "dual": (1, -1)}

START = 0.5
"""Of all of m̄: halfway to both ends, so that the first steps rank pixels by what they do to the score."""


class ExtremalPerturbation(LearnedMask):
    """The smooth mask of area a that, of all such, keeps most of a score (or takes most of it away).

    m_a = argmax Φ(m ⊗ x) − λ R_a(m), R_a(m) = mean of (vecsort(m) − r_a)², where r_a has (1 − a)·HW zeros and then a·HW ones.
    Φ is the logit of a class; of a channel, its mean activation. m ⊗ x is x blurred at each pixel u by a Gaussian of
    σ = ``blur`` · (1 − m(u)). The mask is m(u) = smax_v k(u − v) m̄(v) over a grid of points v, in [0, 1]; see
    `smooth_masks`. m̄ is learned for each input, unit and area by gradient descent with momentum, and cut to [0, 1] after
    every step; λ grows from step to step, but for the first, which is the score's alone. The map is the sum of the masks of
    all areas: (B, 1, H, W), in float32 or wider.

    Lengths in pixels are meant for inputs of about 224 × 224; scale them with the input.

    Args:
        model: as in `Method`.
        layer: as in `Method`.
        areas: a, a share of the image, or several of them, such as (0.025, 0.05, 0.1, 0.2).
        variant: ``preserve`` makes Φ(m ⊗ x) large; ``delete`` makes Φ((1 − m) ⊗ x) small; ``dual`` does both.
        iterations: steps of gradient descent.
        learning_rate: of gradient descent.
        momentum: of gradient descent.
        area_weight: λ at the first step.
        growth: factor of λ from step to step.
        step: pixels from one of the points v to the next.
        sigma: pixels at which the kernel k has fallen to 1/e.
        temperature: T of the smooth maximum.
        blur: σ in pixels of the Gaussian where the mask is 0.
        levels: number of blurred images that are interpolated between.
        progress: whether to show a progress bar on stderr.
        internal_batch_size: as in `Method`, of perturbed inputs.

    Raises:
        ValueError: for an unknown variant, an area that is not in (0, 1], and numbers that must be positive and are not.
    """

    explains_probabilities = False

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        areas: float | Sequence[float] = 0.1,
        variant: str = "preserve",
        iterations: int = 800,
        learning_rate: float = 0.01,
        momentum: float = 0.9,
        area_weight: float = 300.0,
        growth: float = 1.0035,
        step: int = 7,
        sigma: float = 21.0,
        temperature: float = 0.05,
        blur: float = 20.0,
        levels: int = 8,
        progress: bool = False,
        *,
        internal_batch_size: int | None = None,
    ) -> None:
        super().__init__(model, layer, internal_batch_size=internal_batch_size)
        check_positive(
            iterations=iterations, learning_rate=learning_rate, step=step, sigma=sigma, temperature=temperature
        )
        self.areas = _checked_areas(areas)
        if variant not in VARIANTS:
            raise ValueError(f"variant is {variant!r}; give one of {', '.join(VARIANTS)}.")
        if levels < 2:
            raise ValueError(f"levels is {levels}; give 2 or more.")
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
    def masks_a_unit(self) -> int:
        return len(self.areas)

    @override
    def learn(self, images: Tensor, number: Tensor, score: Score, advance: Callable[[int], None]) -> Tensor:
        size, areas = images.shape[2:], torch.tensor(self.areas)[number.cpu()]
        blurred, ideal = blur_pyramid(images, self.blur, self.levels), ideal_masks(areas, images)
        seeds = in_full(images.new_full((len(images), 1, *(math.ceil(length / self.step) for length in size)), START))
        seeds.requires_grad_()
        optimizer = torch.optim.SGD([seeds], lr=self.learning_rate, momentum=self.momentum)
        for iteration in range(self.iterations):
            # At first all cells tie, which sorting would break by place: the first step is the score's alone.
            weight = self.area_weight * self.growth**iteration if iteration else 0.0
            with torch.enable_grad():
                masks = self._masks(seeds, size)
                loss = (weight * area_loss(masks, ideal) - self._reward(blurred, masks, score)).sum()
            (seeds.grad,) = torch.autograd.grad(loss, seeds)
            optimizer.step()
            seeds.detach().clamp_(0, 1)
            advance(1)
        return self._masks(seeds.detach(), size)

    def _masks(self, seeds: Tensor, size: Sequence[int]) -> Tensor:
        return smooth_masks(seeds, size, self.step, self.sigma, self.temperature)

    def _reward(self, blurred: Tensor, masks: Tensor, score: Score) -> Tensor:
        """(R,) of what the variant makes large; one forward pass for each of its perturbed inputs."""
        reward = masks.new_zeros(len(masks))
        for sign, seen in zip(VARIANTS[self.variant], (masks, 1 - masks), strict=True):
            if sign:
                reward = reward + sign * score(fade(blurred, seen))
        return reward


def _checked_areas(areas: float | Sequence[float]) -> list[float]:
    listed = [float(area) for area in areas] if isinstance(areas, Sequence) else [float(areas)]
    wrong = [area for area in listed if not 0 < area <= 1]
    if wrong or not listed:
        raise ValueError(f"areas is {areas}; give one or more shares of the image, each in (0, 1].")
    return listed


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


def kernel(distances: Tensor, sigma: float) -> Tensor:
    """Kernel k at given distances in pixels: exp(−max(0, z − 1)²/4) with z = 3·distance/σ, and 0 from 2σ on.

    So it is 1 up to σ/3, 1/e at σ, and cut off where it is 0.002.
    """
    values = torch.exp(-((3 * distances / sigma - 1).clamp(min=0) ** 2) / 4)
    return values * (distances < 2 * sigma)


def smooth_maximum(values: Tensor, dim: int, temperature: float) -> Tensor:
    """Σ f exp(f/T) / Σ exp(f/T) along a dimension: the maximum for T → 0, the mean for T → ∞."""
    return (values * (values / temperature).softmax(dim=dim)).sum(dim=dim)


def smooth_masks(seeds: Tensor, size: Sequence[int], step: int, sigma: float, temperature: float) -> Tensor:
    """Max-convolution m(u) = smax_v k(u − v) m̄(v): masks that are as smooth as the kernel is.

    The points v lie ``step`` pixels apart, each in the middle of its cell. Beyond the image m̄ is mirrored, so that a
    constant m̄ favours no place. The maximum at a pixel is over the points of the square of cells that holds the kernel's
    support.

    Args:
        seeds: m̄, (R, 1, h, w) in [0, 1].
        size: (H, W). A mask of (h·step, w·step) pixels is resized where that is another size.
        step: pixels from point to point.
        sigma: of the kernel, in pixels.
        temperature: T of the smooth maximum.

    Returns:
        m, (R, 1, H, W) in [0, 1].
    """
    reach = math.ceil(2 * sigma / step)
    before, after = (_mirroring(length, reach, seeds) for length in seeds.shape[2:])
    around = F.unfold(separable_filter(before, seeds, after), kernel_size=2 * reach + 1).mT.contiguous()
    # A row of a cell's pixels at a time, whose products with all points stay in a CPU's cache.
    rows = [
        smooth_maximum(weights[:, None] * around[:, None], dim=3, temperature=temperature)
        for weights in _kernel_weights(step, sigma, reach, seeds)
    ]
    height, width = seeds.shape[2:]
    cells = torch.stack(rows, dim=1).view(len(seeds), step, step, height, width)
    masks = cells.permute(0, 3, 1, 4, 2).reshape(len(seeds), 1, height * step, width * step)
    return separable_filter(
        interpolation_matrix(height * step, size[0], masks), masks, interpolation_matrix(width * step, size[1], masks)
    )


def _mirroring(length: int, reach: int, like: Tensor) -> Tensor:
    """(length + 2·reach, length) weights that continue a row on both sides by its mirror image, again and again."""
    places = torch.arange(-reach, length + reach, device=like.device) % (2 * length)
    return torch.eye(length, dtype=like.dtype, device=like.device)[places.minimum(2 * length - 1 - places)]


def _kernel_weights(step: int, sigma: float, reach: int, like: Tensor) -> Tensor:
    """Kernel k between the step × step pixels of a cell and the (2·reach + 1)² points around it: (step, step, points)."""
    pixels = torch.arange(step, dtype=like.dtype, device=like.device) - (step - 1) / 2
    points = step * torch.arange(-reach, reach + 1, dtype=like.dtype, device=like.device)
    apart = (pixels[:, None] - points).square()
    distances = (apart[:, None, :, None] + apart[None, :, None, :]).sqrt()
    return kernel(distances, sigma).flatten(2)


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
