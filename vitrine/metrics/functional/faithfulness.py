"""How well estimated logits stand in for a backbone's own (section 4.1 of Qi et al.)."""

import torch
from torch import Tensor


def absolute_difference(reconstruction: Tensor, logits: Tensor, explained_classes: Tensor) -> Tensor:
    """|ȳ − ŷ| of each image and explained class (F_reg of section 4.1 in Qi et al., before its mean).

    Args:
        reconstruction: (B, J) the heads' estimates ȳ.
        logits: (B, C) the backbone's logits ŷ.
        explained_classes: (J,) the classes that the columns of ``reconstruction`` stand for.

    Returns:
        (B, J).
    """
    return (reconstruction - logits[:, explained_classes]).abs()


def decision_kept(reconstruction: Tensor, logits: Tensor, explained_classes: Tensor) -> Tensor:
    """Whether the classification stays when one logit ŷ_j is replaced by its estimate ȳ_j (F_cls of section 4.1).

    The arguments are those of `absolute_difference`. Of equal logits the first counts as the highest, and an estimate that
    is not a number keeps nothing.

    Returns:
        (B, J) bool.
    """
    estimates = reconstruction.to(logits.dtype)
    explained = explained_classes.to(logits.device)
    decision, highest = _first_maximum(logits)
    runner_up, second = _first_maximum(logits.scatter(1, decision, -torch.inf))
    # A replaced logit meets one other alone: the highest, or the second where it is the highest itself.
    own = explained == decision
    other = torch.where(own, second, highest)
    decides = torch.where(own, estimates > other, estimates < other)
    stands_first = torch.where(own, decision <= runner_up, decision < explained)
    return decides | ((estimates == other) & stands_first)


def _first_maximum(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 1) index and value."""
    index = logits.argmax(dim=1, keepdim=True)
    return index, logits.gather(1, index)
