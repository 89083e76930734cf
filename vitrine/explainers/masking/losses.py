"""Losses of a masking network (equation 5 of Dabkowski and Gal, NIPS 2017)."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor

from vitrine.core.options import NonNegative, Options, Positive, Share


@dataclass(frozen=True)
class MaskingLosses(Options):
    """Weights of λ₁ TV(m) + λ₂ AV(m) − log f_c(Φ(x, m)) + λ₃ f_c(Φ(x, 1 − m))^λ₄, and what stands in hidden places.

    TV and AV are means over the mask's cells, so that weights do not depend on its size; the paper's λ₂ = 10⁻³ is of the sum
    over 112 × 112 cells.

    Args:
        total_variation: λ₁, of the squared differences of neighbours.
        area: λ₂, of the mask's values.
        deletion: λ₃.
        deletion_power: λ₄; below 1 it also lowers probabilities that are low.
        background: what a fit shows where the mask is 0: for each image at random ``mixed``, its ``blur`` (σ = 11 pixels), or
            a colour with noise, which no mask can exploit; or always the ``blur``, the ``mean`` colour or ``noise``.
        fake_share: share of the rows that are told a class that the image does not have; only the first two terms count for
            them, so that the mask has to vanish, and the class cannot be ignored.
    """

    total_variation: NonNegative = 10.0
    area: NonNegative = 12.5
    deletion: NonNegative = 5.0
    deletion_power: Positive = 0.3
    background: Literal["mixed", "blur", "mean", "noise"] = "mixed"
    fake_share: Share = 0.1


class MaskingTerms(NamedTuple):
    """The terms of R rows, without their weights, each (R,)."""

    total_variation: Tensor
    area: Tensor
    preservation: Tensor
    """−log f_c(Φ(x, m))."""
    deletion: Tensor
    """f_c(Φ(x, 1 − m))^λ₄."""

    def weighted(self, losses: MaskingLosses, is_fake: Tensor) -> Tensor:
        """(R,) losses; of the (R,) rows that were told another class, the first two terms alone."""
        of_mask = losses.total_variation * self.total_variation + losses.area * self.area
        of_class = self.preservation + losses.deletion * self.deletion
        return of_mask + of_class.masked_fill(is_fake, 0.0)


def masking_terms(masks: Tensor, shown: Tensor, left: Tensor, losses: MaskingLosses) -> MaskingTerms:
    """The terms of R masks.

    Args:
        masks: (R, 1, h, w).
        shown: (R,) log f_c(Φ(x, m)).
        left: (R,) log f_c(Φ(x, 1 − m)).
        losses: of which λ₄ is read.
    """
    differences = [masks.diff(dim=dim).square().sum(dim=(1, 2, 3)) for dim in (2, 3)]
    variation = (differences[0] + differences[1]) / masks[0].numel()
    return MaskingTerms(variation, masks.mean(dim=(1, 2, 3)), -shown, (losses.deletion_power * left).exp())
