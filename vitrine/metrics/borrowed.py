"""Networks that metrics use and do not own."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vitrine.glass import behind_glass


class Borrowed:
    """A classifier that belongs to somebody else: copies share it, pickles leave it behind, and no module registers it.

    Args:
        classify: takes (B, 3, H, W) images to (B, C) logits; an ``nn.Module`` is put behind glass.
        borrower: name of the metric that uses it.
    """

    def __init__(self, classify: Callable[[Tensor], Tensor] | None, borrower: str) -> None:
        self.function, self.borrower = classify, borrower

    def __call__(self, images: Tensor) -> Tensor:
        """(B, C) logits.

        Raises:
            ValueError: where it was left behind.
        """
        if self.function is None:
            raise ValueError(
                f"A pickled {self.borrower} has left its network behind; take in batches with a new one, and merge_state."
            )
        if not isinstance(self.function, nn.Module):
            return self.function(images)
        with behind_glass(self.function), torch.no_grad():
            logits: Tensor = self.function(images)
        return logits

    def __deepcopy__(self, memo: dict[int, Any]) -> "Borrowed":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Borrowed, (None, self.borrower)
