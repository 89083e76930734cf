"""Meaningful perturbation: the smallest smooth deletion that removes a class (Fong and Vedaldi, ICCV 2017)."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.autograd.loss_scaling import scaled_gradients
from vitrine.attribution.perturbation.learned_mask import LearnedMask
from vitrine.attribution.perturbation.scores import Score
from vitrine.backbones.outputs import OutputChoice
from vitrine.core.image_ops import gaussian_blur, gaussian_matrix, interpolation_matrix, separable_filter
from vitrine.core.options import Count, CountOrZero, NonNegative, Positive, checked
from vitrine.core.precision import in_full


class MeaningfulPerturbation(LearnedMask):
    """The part of the input whose blurring lowers the probability of the class.

    A coarse mask m, from 1 (kept) to 0 (blurred), is learned for each input and target by Adam:

    min λ₁ Σ(1 − m) + λ₂ Σ‖∇m‖_β^β + f(M ⊙ x + (1 − M) ⊙ blurred x)

    where M is m enlarged bilinearly and blurred, the sums are over m's cells, and f is the softmax probability of a class;
    of a channel, its mean activation. x is shifted at random at every step, the same for all inputs. m starts as the
    smallest centred disc of zeros that lowers f by 99 % of what blurring all of x does, and is clamped to [0, 1] after
    every step. The map is 1 − M: (B, 1, H, W) in [0, 1], in float32 or wider.

    The defaults of lengths in pixels are for inputs of about 224 × 224; scale them with the input.

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
        jitter: number of shifts in pixels around 0, along each axis, from which one is drawn; 1 or 0 for no shifts.
        centred_start: whether m starts as the disc; otherwise as ones (nothing is perturbed).
        seed: of the shifts.
        multi_label: whether an image may have several classes; f is the sigmoid of the class's logit then, as it is for a
            model of one logit.
        progress: whether to show a progress bar on stderr.
        internal_batch_size: as in `Method`, of perturbed inputs.
        output: as in `Method`.

    Raises:
        ValueError: as in `Method`; of ``attribute`` also if no gradient leads from the score back to the perturbed input.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
        >>> method = MeaningfulPerturbation(model, iterations=3, grid=4, blur=2.0, mask_blur=1.0)
        >>> method.attribute(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 1, 8, 8])
    """

    paper = "Fong and Vedaldi 2017"
    quick_options: ClassVar[Mapping[str, Any]] = {
        "iterations": 3,
        "grid": 4,
        "blur": 2.0,
        "mask_blur": 0.0,
        "jitter": 1,
    }

    explains_probabilities = True

    @checked
    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        iterations: Count = 300,
        learning_rate: Positive = 0.1,
        l1: NonNegative = 1e-4,
        tv: NonNegative = 1e-2,
        beta: Positive = 3.0,
        grid: Count = 28,
        blur: NonNegative = 10.0,
        mask_blur: NonNegative = 5.0,
        jitter: CountOrZero = 4,
        centred_start: bool = True,
        seed: int = 0,
        multi_label: bool = False,
        progress: bool = False,
        *,
        internal_batch_size: Count | None = None,
        output: OutputChoice | None = None,
    ) -> None:
        super().__init__(model, layer, internal_batch_size=internal_batch_size, output=output)
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
        self.multi_label = multi_label
        self.progress = progress

    @override
    def learn(self, images: Tensor, mask_numbers: Tensor, score: Score, advance: Callable[[int], None]) -> Tensor:
        blurred, enlarge = gaussian_blur(images, self.blur), self._enlarge(images)
        masks = self._start(images, blurred, score, enlarge).requires_grad_()
        optimizer = torch.optim.Adam([masks], lr=self.learning_rate)
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(self.iterations):
            shift = [int(torch.randint(max(self.jitter, 1), (), generator=generator)) - self.jitter // 2 for _ in "yx"]
            with torch.enable_grad():
                perturbed = blend(enlarge(masks), shifted(images, shift), shifted(blurred, shift))
                loss = (score(perturbed) + self.penalty(masks)).sum()
            (masks.grad,) = scaled_gradients([loss], [masks], [torch.ones_like(loss)])
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
        """(R, 1, h, w) masks before the first step."""
        if not self.centred_start:
            return in_full(images.new_ones(len(images), 1, self.grid, self.grid))
        masks = discs(self.grid, in_full(images[:0]))
        with torch.no_grad():
            scores = torch.stack([score(blend(enlarge(mask), images, blurred)) for mask in masks])
            # Copies, as the first operator may work in place.
            original, fully_blurred = score(images.clone()), score(blurred.clone())
        lowers_enough = original - scores >= 0.99 * (original - fully_blurred)
        return masks[lowers_enough.int().argmax(dim=0)]


def total_variation(masks: Tensor, beta: float) -> Tensor:
    """Σ_u |∂m/∂y|^β + |∂m/∂x|^β of (B, 1, H, W) masks, by differences of neighbours: (B,)."""
    down, across = masks.diff(dim=-2), masks.diff(dim=-1)
    return (down.abs() ** beta).sum(dim=(1, 2, 3)) + (across.abs() ** beta).sum(dim=(1, 2, 3))


def discs(grid: int, like: Tensor) -> Tensor:
    """Masks (n, 1, grid, grid) that are 0 in a centred disc and 1 around it, for radii from 0 to one that covers all."""
    places = torch.arange(grid, dtype=like.dtype, device=like.device) - (grid - 1) / 2
    distances = (places[:, None] ** 2 + places**2).sqrt()
    radii = torch.arange(int(distances.max()) + 2, dtype=like.dtype, device=like.device)
    return (distances >= radii[:, None, None, None]).to(like)


def blend(masks: Tensor, images: Tensor, others: Tensor) -> Tensor:
    """The images where masks are 1, the others where masks are 0, and linear in between."""
    return (masks * images + (1 - masks) * others).to(images.dtype)


def shifted(images: Tensor, shift: list[int]) -> Tensor:
    """(…, H, W) images shifted down and to the right by so many pixels; the border is repeated."""
    rows, columns = (
        (torch.arange(length, device=images.device) - by).clamp(0, length - 1)
        for length, by in zip(images.shape[-2:], shift, strict=True)
    )
    return images[..., rows, :][..., columns]
