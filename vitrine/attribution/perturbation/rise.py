"""RISE: randomized input sampling for explanation (Petsiuk, Das and Saenko, BMVC 2018)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.base import Method, Unit
from vitrine.attribution.perturbation.perturbations import check_positive, explained_units, parts, unit_scores
from vitrine.core.precision import in_full
from vitrine.core.progress import progress_bar

AT_ONCE = 64
"""Masked inputs that go through the model at once where no bound is given."""


class RISE(Method):
    """How much of a class's probability the input keeps on average where a pixel is seen.

    S(λ) = 1/(N·p) Σᵢ f(I ⊙ Mᵢ) · Mᵢ(λ) over N random masks M. A mask is a grid of cells that are 1 with probability p and
    else 0, enlarged bilinearly and cropped at a random place. f is the softmax probability of a class; of a channel, its
    mean activation. A masked pixel is 0 in the model's input, which after normalisation is the mean colour.

    All inputs meet the same masks, and all K units of an input are scored in the same forward passes. Maps are
    (B, 1, H, W), in float32 or wider.

    Args:
        model: as in `Method`.
        layer: as in `Method`.
        masks: N; the paper has 4000 for VGG-16 and 8000 for ResNet-50.
        grid: cells along each side of the image.
        probability: p, that a cell is seen.
        seed: of the masks.
        progress: whether to show a progress bar on stderr.
        internal_batch_size: as in `Method`, of masked inputs; as many as the batch has, or 64 where it has fewer, without it.

    Raises:
        ValueError: where the number of masks or of cells is not positive, or ``probability`` is not between 0 and 1.
    """

    bounds_itself = True

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        masks: int = 4000,
        grid: int = 7,
        probability: float = 0.5,
        seed: int = 0,
        progress: bool = False,
        *,
        internal_batch_size: int | None = None,
    ) -> None:
        super().__init__(model, layer, internal_batch_size=internal_batch_size)
        check_positive(masks=masks, grid=grid)
        if not 0 < probability < 1:
            raise ValueError(f"probability is {probability}; give a value between 0 and 1.")
        self.masks = masks
        self.grid = grid
        self.probability = probability
        self.seed = seed
        self.progress = progress

    @override
    @torch.no_grad()
    def maps(self, inputs: Tensor, unit: Unit) -> Tensor:
        units = explained_units(self, inputs, unit)
        cells, places = random_cells(self.masks, self.grid, self.probability, self.seed)
        at_once = self.internal_batch_size or max(AT_ONCE, len(inputs))
        maps = in_full(inputs.new_zeros(*units.shape, *inputs.shape[2:]))
        rows_of_inputs = parts(len(inputs), at_once)
        with progress_bar("RISE", len(rows_of_inputs) * self.masks, shown=self.progress) as advance:
            for rows in rows_of_inputs:
                for chosen in parts(self.masks, max(1, at_once // max(len(inputs[rows]), 1))):
                    masks = enlarged(cells[chosen].to(maps), places[chosen], inputs.shape[2:])
                    scores = self._scores(inputs[rows], masks, unit, units[rows])
                    maps[rows] += weighted_sum(scores, masks)
                    advance(len(masks))
        return maps[:, :, None] / (self.masks * self.probability)

    def _scores(self, inputs: Tensor, masks: Tensor, unit: Unit, units: Tensor) -> Tensor:
        """(N, B, K) scores of the inputs under each of the N masks."""
        masked = (masks[:, None, None] * inputs).to(inputs.dtype).flatten(0, 1)
        output = self.explained_output(masked, unit)
        scores = unit_scores(output, units.repeat(len(masks), 1), probability=unit.layer is None)
        return scores.view(len(masks), *units.shape)


def random_cells(count: int, grid: int, probability: float, seed: int) -> tuple[Tensor, Tensor]:
    """What N masks are made of.

    Returns:
        (N, grid, grid) booleans, true with the probability, and (N, 2) places in [0, 1) of the crop within one cell.
    """
    generator = torch.Generator().manual_seed(seed)
    cells = torch.rand(count, grid, grid, generator=generator) < probability
    return cells, torch.rand(count, 2, generator=generator)


def enlarged(cells: Tensor, places: Tensor, size: tuple[int, ...]) -> Tensor:
    """Masks of an image's size.

    h × w cells become (h + 1)·C_H × (w + 1)·C_W pixels, where C_H × C_W is the size of a cell in the image, rounded up; of
    these H × W are cut out, the first at the given place within a cell.

    Args:
        cells: (N, h, w).
        places: (N, 2) in [0, 1).
        size: (H, W).

    Returns:
        (N, H, W) in [0, 1].
    """
    steps = [-(-length // number) for length, number in zip(size, cells.shape[1:], strict=True)]
    whole = [(number + 1) * step for step, number in zip(steps, cells.shape[1:], strict=True)]
    large = F.interpolate(cells[:, None], size=whole, mode="bilinear", align_corners=False)[:, 0]
    starts = (places * torch.tensor(steps)).long().tolist()
    crops = [mask[top : top + size[0], left : left + size[1]] for mask, (top, left) in zip(large, starts, strict=True)]
    return torch.stack(crops)


def weighted_sum(scores: Tensor, masks: Tensor) -> Tensor:
    """Σᵢ of (N, B, K) scores times (N, H, W) masks: (B, K, H, W)."""
    with torch.autocast(masks.device.type, enabled=False):
        return torch.einsum("nbk,nhw->bkhw", scores.to(masks), masks)
