"""Meaningful perturbation: the smallest smooth deletion that takes a class away (Fong and Vedaldi, ICCV 2017)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.perturbation.learned_mask import LearnedMask
from vitrine.attribution.perturbation.perturbations import Score, check_positive, total_variation
from vitrine.core.image_ops import gaussian_blur, gaussian_matrix, interpolation_matrix, separable_filter
from vitrine.core.precision import in_full


class MeaningfulPerturbation(LearnedMask):
    """What must be blurred in the input to make the class's probability fall.

    A mask m of few cells is learned for each input and unit, from 1 (kept) to 0 (blurred), by Adam:

    min λ₁ Σ(1 − m) + λ₂ Σ‖∇m‖_β^β + f(M ⊙ x + (1 − M) ⊙ blurred x)

    where M is m enlarged bilinearly and blurred, the sums are over m's cells, and f is the softmax probability of a class;
    of a channel, its mean activation. x is shifted at random at every step, the same for all inputs. m starts as the
    smallest centred disc of zeros that lowers f by 99 % of what blurring all of x does, and is cut to [0, 1] after every
    step. The map is 1 − M: (B, 1, H, W) in [0, 1], in float32 or wider.

    Lengths in pixels are meant for inputs of about 224 × 224; scale them with the input.

    Args:
        model: as in `Method`.
        layer: as in `Method`.
        iterations: steps of Adam.
        learning_rate: of Adam.
        l1: λ₁.
        tv: λ₂.
        beta: β, the exponent of the total variation.
        grid: cells along each side of m.
        blur: σ in pixels of the Gaussian that perturbs the input.
        mask_blur: σ in pixels of the Gaussian that smooths the enlarged mask.
        jitter: number of shifts in pixels, along each axis, that one is drawn from around 0; 1 or 0 for no shifts.
        centred_start: whether m starts as the disc; as ones (nothing is perturbed) otherwise.
        seed: of the shifts.
        progress: whether to show a progress bar on stderr.
        internal_batch_size: as in `Method`, of perturbed inputs.

    Raises:
        ValueError: where the number of iterations or cells, or the learning rate, is not positive.
    """

    explains_probabilities = True

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        iterations: int = 300,
        learning_rate: float = 0.1,
        l1: float = 1e-4,
        tv: float = 1e-2,
        beta: float = 3.0,
        grid: int = 28,
        blur: float = 10.0,
        mask_blur: float = 5.0,
        jitter: int = 4,
        centred_start: bool = True,
        seed: int = 0,
        progress: bool = False,
        *,
        internal_batch_size: int | None = None,
    ) -> None:
        super().__init__(model, layer, internal_batch_size=internal_batch_size)
        check_positive(iterations=iterations, learning_rate=learning_rate, grid=grid)
        self.iterations = iterations
        self.learning_rate = learning_rate
        self.l1 = l1
        self.tv = tv
        self.beta = beta
        self.grid = grid
        self.blur = blur
        self.mask_blur = mask_blur
        self.jitter = jitter
        self.centred_start = centred_start
        self.seed = seed
        self.progress = progress

    @override
    def learn(self, images: Tensor, number: Tensor, score: Score, advance: Callable[[int], None]) -> Tensor:
        blurred, enlarge = gaussian_blur(images, self.blur), self._enlarge(images)
        masks = self._start(images, blurred, score, enlarge).requires_grad_()
        optimizer = torch.optim.Adam([masks], lr=self.learning_rate)
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(self.iterations):
            shift = [int(torch.randint(max(self.jitter, 1), (), generator=generator)) - self.jitter // 2 for _ in "yx"]
            with torch.enable_grad():
                perturbed = blend(enlarge(masks), shifted(images, shift), shifted(blurred, shift))
                loss = (score(perturbed) + self.penalty(masks)).sum()
            (masks.grad,) = torch.autograd.grad(loss, masks)
            optimizer.step()
            masks.detach().clamp_(0, 1)
            advance(1)
        return (1 - enlarge(masks.detach())).clamp(0, 1)

    def penalty(self, masks: Tensor) -> Tensor:
        """λ₁ Σ(1 − m) + λ₂ Σ‖∇m‖_β^β of (R, 1, h, w) masks: (R,)."""
        return self.l1 * (1 - masks).sum(dim=(1, 2, 3)) + self.tv * total_variation(masks, self.beta)

    def _enlarge(self, images: Tensor) -> Callable[[Tensor], Tensor]:
        wide = in_full(images[:0])
        filters = [
            gaussian_matrix(length, self.mask_blur, wide) @ interpolation_matrix(self.grid, length, wide)
            for length in images.shape[2:]
        ]
        return lambda masks: separable_filter(filters[0], masks, filters[1])

    def _start(self, images: Tensor, blurred: Tensor, score: Score, enlarge: Callable[[Tensor], Tensor]) -> Tensor:
        """The masks (R, 1, h, w) before the first step."""
        if not self.centred_start:
            return in_full(images.new_ones(len(images), 1, self.grid, self.grid))
        masks = discs(self.grid, in_full(images[:0]))
        with torch.no_grad():
            scores = torch.stack([score(blend(enlarge(mask), images, blurred)) for mask in masks])
            original, fully_blurred = score(images), score(blurred)
        enough = original - scores >= 0.99 * (original - fully_blurred)
        return masks[enough.int().argmax(dim=0)]


def discs(grid: int, like: Tensor) -> Tensor:
    """Masks (n, 1, grid, grid) that are 0 in a centred disc and 1 around it, the disc growing from nothing to all."""
    places = torch.arange(grid, dtype=like.dtype, device=like.device) - (grid - 1) / 2
    distances = (places[:, None] ** 2 + places**2).sqrt()
    radii = torch.arange(int(distances.max()) + 2, dtype=like.dtype, device=like.device)
    return (distances >= radii[:, None, None, None]).to(like)


def blend(masks: Tensor, images: Tensor, others: Tensor) -> Tensor:
    """The images where the masks are 1, the others where they are 0."""
    return (masks * images + (1 - masks) * others).to(images.dtype)


def shifted(images: Tensor, shift: list[int]) -> Tensor:
    """(…, H, W) images moved down and right by so many pixels; the border is repeated."""
    rows, columns = (
        (torch.arange(length, device=images.device) - by).clamp(0, length - 1)
        for length, by in zip(images.shape[-2:], shift, strict=True)
    )
    return images[..., rows, :][..., columns]
