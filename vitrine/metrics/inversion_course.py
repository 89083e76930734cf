"""How the optimisations of inversion masks went."""

import torch
from torch import Tensor
from torchmetrics import Metric

from vitrine.attribution.inversion import InversionResult
from vitrine.metrics.functional import degenerate


class InversionCourse(Metric):
    """Counts masks that are not to be relied on, and takes the means of the others' steps and losses, over all ranks.

    A mask has not come to rest where the last of its steps still changed it by more than the tolerance; without a step there
    is nothing to come to rest. A degenerate mask is constant, or has NaN in it.
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
        """Takes in the masks of R rows."""
        finite = result.loss.isfinite()
        self.masks += len(result.masks)
        self.not_converged += (~result.converged & (result.steps > 0)).sum()
        self.degenerate_masks += degenerate(result.masks[:, 0]).sum()
        self.steps += result.steps.sum()
        self.loss += result.loss[finite].double().sum()
        self.losses += finite.sum()

    def compute(self) -> dict[str, Tensor]:
        """Counts ``inversion/not_converged`` and ``inversion/degenerate``, means ``inversion/steps`` and ``inversion/loss``.

        The loss is that before each mask's last step, without those that are no finite number; there is none where no step
        was made.
        """
        figures = {
            "inversion/not_converged": self.not_converged,
            "inversion/degenerate": self.degenerate_masks,
            "inversion/steps": self.steps / self.masks,
        }
        if self.losses > 0:
            figures["inversion/loss"] = self.loss / self.losses
        return {name: value.float() for name, value in figures.items()}
