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
        self._sums: dict[str, Tensor] = {}

    def update(self, means: Mapping[str, Tensor], count: int) -> None:
        """Takes in means over ``count`` samples, which may be 0."""
        for name, mean in means.items():
            weighted = torch.stack([mean.detach().double() * count, mean.new_tensor(count, dtype=torch.float64)])
            self._sums[name] = self._sums[name] + weighted if name in self._sums else weighted

    def compute(self) -> dict[str, Tensor]:
        """() means over all ranks, and begins anew; a collective. A value that no rank has a sample of is NaN."""
        if not self._sums:
            return {}
        totals = sum_over_ranks(torch.stack(list(self._sums.values())))
        names, self._sums = list(self._sums), {}
        return dict(zip(names, totals[:, 0] / totals[:, 1], strict=True))

    def reset(self) -> None:
        """Forgets what was taken in."""
        self._sums = {}

    def state(self) -> dict[str, Tensor]:
        """(2,) weighted sum and weight of each value over all ranks, for a checkpoint; a collective."""
        return {name: sum_over_ranks(value).cpu() for name, value in self._sums.items()}

    def load(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        """Gives rank zero the sums of all ranks, and the others zeros."""
        share = 1 if global_rank() == 0 else 0
        self._sums = {name: value.to(device) * share for name, value in state.items()}
