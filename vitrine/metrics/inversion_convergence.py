"""Convergence of inversion masks: how many optimisations converged, their steps and final losses."""

import torch
from torch import Tensor
from torchmetrics import Metric

from vitrine.attribution.inversion import InversionResult
from vitrine.metrics.functional import degenerate


class InversionConvergence(Metric):
    """Counts masks that did not converge or are degenerate, and averages the steps and final losses, over all ranks.

    A mask has not converged where its last step still changed it by more than the tolerance; masks without any step are not
    counted. A degenerate mask is constant or holds NaN or infinity.

    Example:
        >>> metric = InversionConvergence()
        >>> result = InversionResult(
        ...     weights=torch.rand(2, 16), masks=torch.rand(2, 1, 8, 8), loss=torch.tensor([0.1, 0.3]),
        ...     steps=torch.tensor([40, 60]), converged=torch.tensor([True, False]),
        ... )
        >>> metric.update(result)
        >>> {name: round(value.item(), 3) for name, value in metric.compute().items()}
        {'inversion/not_converged': 1.0, 'inversion/degenerate': 0.0, 'inversion/steps': 50.0, 'inversion/loss': 0.2}
    """

    full_state_update = False
    masks: Tensor
    not_converged: Tensor
    degenerate_masks: Tensor
    steps: Tensor
    loss: Tensor
    losses: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("masks", "not_converged", "degenerate_masks", "steps", "loss", "losses"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, result: InversionResult) -> None:
        """Updates the state with the masks of one batch."""
        finite = result.loss.isfinite()
        self.masks += len(result.masks)
        self.not_converged += (~result.converged & (result.steps > 0)).sum()
        self.degenerate_masks += degenerate(result.masks[:, 0]).sum()
        self.steps += result.steps.sum()
        self.loss += result.loss[finite].double().sum()
        self.losses += finite.sum()

    def compute(self) -> dict[str, Tensor]:
        """Counts ``inversion/not_converged`` and ``inversion/degenerate``; means ``inversion/steps`` and ``inversion/loss``.

        The loss is that before each mask's last step; losses that are not finite are left out, and without a finite loss,
        as where no step was made, there is no ``inversion/loss``.
        """
        figures = {
            "inversion/not_converged": self.not_converged,
            "inversion/degenerate": self.degenerate_masks,
            "inversion/steps": self.steps / self.masks,
        }
        if self.losses > 0:
            figures["inversion/loss"] = self.loss / self.losses
        return {name: value.float() for name, value in figures.items()}
