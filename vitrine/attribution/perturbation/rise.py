"""RISE: randomized input sampling for explanation (Petsiuk, Das and Saenko, BMVC 2018)."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.base import Method, batch_slices
from vitrine.attribution.perturbation.scores import target_scores
from vitrine.attribution.targets import Target
from vitrine.backbones.outputs import OutputChoice
from vitrine.core.options import Count, Range, checked
from vitrine.core.precision import in_full
from vitrine.core.progress import progress_bar

DEFAULT_BATCH_SIZE = 64
"""Masked inputs that go through the model at once if no bound is given."""


class RISE(Method):
    """The mean probability of a class over randomly masked inputs in which a pixel is visible.

    S(λ) = 1/(N·p) Σᵢ f(I ⊙ Mᵢ) · Mᵢ(λ) over N random masks M. A mask is a grid of cells that are 1 with probability p and
    else 0, enlarged bilinearly and cropped at a random place. f is the softmax probability of a class; of a channel, its
    mean activation. A masked pixel is 0 in the model's input, which is the mean colour of normalised inputs.

    All inputs get the same masks, and all K targets of an input share the forward passes. Maps are (B, 1, H, W), in float32
    or wider.

    Args:
        model: as in `Method`.
        layer: as in `Method`.
        n_samples: N, the number of masks; the paper has 4000 for VGG-16 and 8000 for ResNet-50.
        grid: cells along each side of the image.
        probability: p, the probability that a cell is visible.
        seed: of the masks.
        multi_label: whether an image may have several classes; f is the sigmoid of the class's logit then, as it is for a
            model of one logit.
        progress: whether to show a progress bar on stderr.
        internal_batch_size: as in `Method`, of masked inputs; if it is None, the batch size, or 64 if that is smaller.
        output: as in `Method`.

    Raises:
        ValueError: as in `Method`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
        >>> RISE(model, n_samples=20, grid=2).attribute(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 1, 8, 8])
    """

    handles_batch_size = True
    takes_torchscript = True
    slow = True
    paper = "Petsiuk et al. 2018"
    quick_options: ClassVar[Mapping[str, Any]] = {"n_samples": 12, "grid": 3}
    RENAMED: ClassVar[Mapping[str, str]] = {"masks": "n_samples"}

    @checked
    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        n_samples: Count = 4000,
        grid: Count = 7,
        probability: Annotated[float, Range(above=0, below=1)] = 0.5,
        seed: int = 0,
        multi_label: bool = False,
        progress: bool = False,
        *,
        internal_batch_size: Count | None = None,
        output: OutputChoice | None = None,
    ) -> None:
        super().__init__(model, layer, internal_batch_size=internal_batch_size, output=output)
        self.n_samples = n_samples
        self.grid = grid
        self.probability = probability
        self.seed = seed
        self.multi_label = multi_label
        self.progress = progress

    @override
    @torch.no_grad()
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        indices = self.target_indices(inputs, target)
        cells, offsets = random_cells(self.n_samples, self.grid, self.probability, self.seed)
        batch_size = self.internal_batch_size or max(DEFAULT_BATCH_SIZE, len(inputs))
        maps = in_full(inputs.new_zeros(*indices.shape, *inputs.shape[2:]))
        input_batches = batch_slices(len(inputs), batch_size)
        with progress_bar("RISE", len(input_batches) * self.n_samples, shown=self.progress) as advance:
            for rows in input_batches:
                for batch in batch_slices(self.n_samples, max(1, batch_size // max(len(inputs[rows]), 1))):
                    masks = enlarge(cells[batch].to(maps), offsets[batch], inputs.shape[2:])
                    maps[rows] += weighted_sum(self._scores(inputs[rows], masks, target, indices[rows]), masks)
                    advance(len(masks))
        return maps[:, :, None] / (self.n_samples * self.probability)

    def _scores(self, inputs: Tensor, masks: Tensor, target: Target, indices: Tensor) -> Tensor:
        """(N, B, K) scores of the inputs under each of the N masks."""
        masked = (masks[:, None, None] * inputs).to(inputs.dtype).flatten(0, 1)
        output = self.explained_output(masked, target)
        indices_of_masked = indices.repeat(len(masks), 1)
        scores = target_scores(
            output, indices_of_masked, probability=target.layer is None, multi_label=self.multi_label
        )
        return scores.view(len(masks), *indices.shape)


def random_cells(count: int, grid: int, probability: float, seed: int) -> tuple[Tensor, Tensor]:
    """Random cells and crops of N masks.

    Returns:
        (N, grid, grid) booleans, true with the probability, and (N, 2) offsets of the crop in [0, 1), in cells.
    """
    generator = torch.Generator().manual_seed(seed)
    cells = torch.rand(count, grid, grid, generator=generator) < probability
    return cells, torch.rand(count, 2, generator=generator)


def enlarge(cells: Tensor, offsets: Tensor, size: tuple[int, ...]) -> Tensor:
    """Masks of an image's size from cells.

    h × w cells become (h + 1)·C_H × (w + 1)·C_W pixels, where C_H × C_W is the size of a cell in the image, rounded up; of
    these H × W are cropped, from the given offset within a cell on.

    Args:
        cells: (N, h, w).
        offsets: (N, 2) in [0, 1).
        size: (H, W).

    Returns:
        (N, H, W) in [0, 1].
    """
    steps = [-(-length // number) for length, number in zip(size, cells.shape[1:], strict=True)]
    full_size = [(number + 1) * step for step, number in zip(steps, cells.shape[1:], strict=True)]
    large = F.interpolate(cells[:, None], size=full_size, mode="bilinear", align_corners=False)[:, 0]
    corners = (offsets * torch.tensor(steps)).long().tolist()
    crops = [mask[top : top + size[0], left : left + size[1]] for mask, (top, left) in zip(large, corners, strict=True)]
    return torch.stack(crops)


def weighted_sum(scores: Tensor, masks: Tensor) -> Tensor:
    """Σᵢ of (N, B, K) scores times (N, H, W) masks: (B, K, H, W)."""
    with torch.autocast(masks.device.type, enabled=False):
        return torch.einsum("nbk,nhw->bkhw", scores.to(masks), masks)
