"""Means over a training epoch and all ranks, kept as sums that a checkpoint holds."""

from collections.abc import Mapping

import torch
from torch import Tensor

from vitrine.core.distributed import global_rank, sum_over_ranks


class EpochMeans:
    """Weighted means of named values, in double precision; all ranks give the same names.

    Lightning's own means of what is logged in steps round the number of samples down where ranks have unequal numbers, and a
    fit that goes on within an epoch would have those of the rest of it.
    """

    def __init__(self) -> None:
        self._sums: dict[tuple[str, ...], Tensor] = {}  # by the names of what is taken in together, (2, names)

    def update(self, means: Mapping[str, Tensor], count: int) -> None:
        """Takes in means over ``count`` samples, which may be 0."""
        if not means:
            return
        values = torch.stack([mean.detach().double() for mean in means.values()])
        weighted = torch.stack([values * count, torch.full_like(values, count)])
        names = tuple(means)
        self._sums[names] = self._sums[names] + weighted if names in self._sums else weighted

    def compute(self) -> dict[str, Tensor]:
        """() means over all ranks, and begins anew; a collective. A value that no rank has a sample of is NaN."""
        names, totals = self._joined()
        self._sums = {}
        return dict(zip(names, (totals[0] / totals[1]).unbind(), strict=True)) if names else {}

    def reset(self) -> None:
        """Forgets what was taken in."""
        self._sums = {}

    def state(self) -> dict[str, Tensor]:
        """(2,) weighted sum and weight of each value over all ranks, for a checkpoint; a collective."""
        names, totals = self._joined()
        return dict(zip(names, totals.cpu().unbind(dim=1), strict=True)) if names else {}

    def load(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        """Gives rank zero the sums of all ranks, and the others zeros."""
        share = 1 if global_rank() == 0 else 0
        self._sums = {tuple(state): torch.stack(list(state.values()), dim=1).to(device) * share} if state else {}

    def _joined(self) -> tuple[list[str], Tensor]:
        """All names, and the (2, names) sums over all ranks; what was taken in under other names beside it is added."""
        if not self._sums:
            return [], torch.zeros(2, 0)
        names = list(dict.fromkeys(name for together in self._sums for name in together))
        places = torch.tensor([names.index(name) for together in self._sums for name in together])
        values = torch.cat(list(self._sums.values()), dim=1)
        return names, sum_over_ranks(values.new_zeros(2, len(names)).index_add(1, places.to(values.device), values))
