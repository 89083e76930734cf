"""What metrics share that keep some numbers of each image until the end."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from vitrine.explanation import Explanation
from vitrine.metrics.base import ExplanationMetric


class RowMetric(ExplanationMetric):
    """A metric over rows of float64, which are kept end to end in one flat state, about heatmap k of all images of a class.

    A rank without a batch brings a flat tensor without elements, so that ranks need not know how long a row is.
    """

    rows: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("rows", [], dist_reduce_fx="cat")

    @property
    def dtype(self) -> torch.dtype:
        """That of the rows: torchmetrics takes it for the empty tensor of a rank without a batch."""
        return torch.float64

    def flat_rows(self) -> Tensor:
        """All rows so far, end to end."""
        empty = torch.zeros(0, dtype=self.dtype, device=self.device)
        return dim_zero_cat(self.rows) if len(self.rows) else empty


def present_heatmaps(explanation: Explanation) -> Iterator[tuple[int, int, Tensor, Tensor]]:
    """Row, explained class, (K, H, W) heatmaps and (K,) bool of each image; False where a heatmap without a name pads."""
    images = zip(explanation.target.tolist(), explanation.heatmaps.detach(), explanation.labels, strict=True)
    for row, (label, maps, names) in enumerate(images):
        yield row, label, maps, torch.tensor([name != "" for name in names], device=maps.device)
