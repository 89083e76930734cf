"""Faithfulness of reconstructed logits: F_reg and F_cls of section 4.1 of Qi et al., image by image."""

import torch
from torch import Tensor

from vitrine.metrics.functional.checks import checked_classes, checked_tensor


def absolute_difference(logit_estimate: Tensor, logits: Tensor, explained_classes: Tensor) -> Tensor:
    """|ȳ − ŷ| for each image and explained class; its mean is F_reg (section 4.1 of Qi et al.).

    Args:
        logit_estimate: (B, J) estimates ȳ of the heads.
        logits: (B, C) logits ŷ of the backbone.
        explained_classes: (J,) classes of the columns of ``logit_estimate``.

    Returns:
        (B, J).

    Raises:
        ValueError: for other shapes, and for a class out of range.

    Example:
        >>> absolute_difference(torch.tensor([[2.5]]), torch.tensor([[1.0, 3.0]]), torch.tensor([1])).tolist()
        [[0.5]]
    """
    _check(logit_estimate, logits, explained_classes)
    return (logit_estimate - logits[:, explained_classes]).abs()


def decision_kept(logit_estimate: Tensor, logits: Tensor, explained_classes: Tensor) -> Tensor:
    """Whether the decision is the same with one logit ŷ_j replaced by its estimate ȳ_j; its mean is F_cls (section 4.1).

    The arguments are those of `absolute_difference`. Of equal logits the first is the decision; an estimate of NaN never
    keeps the decision.

    Returns:
        (B, J) bool.

    Raises:
        ValueError: as in `absolute_difference`.

    Example:
        >>> logits = torch.tensor([[1.0, 2.0, 3.0]])
        >>> decision_kept(torch.tensor([[2.5, 4.0]]), logits, torch.tensor([2, 1])).tolist()
        [[True, False]]
    """
    _check(logit_estimate, logits, explained_classes)
    estimates = logit_estimate.to(logits.dtype)
    explained = explained_classes.to(logits.device)
    decision, highest = _first_maximum(logits)
    runner_up, second = _first_maximum(logits.scatter(1, decision, -torch.inf))
    # The estimate has to be compared with one logit only: the highest, or the second highest where it replaces the highest.
    replaces_highest = explained == decision
    rival = torch.where(replaces_highest, second, highest)
    keeps = torch.where(replaces_highest, estimates > rival, estimates < rival)
    decision_comes_first = torch.where(replaces_highest, decision <= runner_up, decision < explained)
    return keeps | ((estimates == rival) & decision_comes_first)


def _check(logit_estimate: Tensor, logits: Tensor, explained_classes: Tensor) -> None:
    checked_tensor(logits, "logits", "B, C")
    checked_classes(explained_classes, None, logits.shape[1], "explained_classes")
    estimate = checked_tensor(logit_estimate, "logit_estimate", "B, J")
    if estimate.shape != (len(logits), len(explained_classes)):
        raise ValueError(
            f"logit_estimate has the shape {tuple(estimate.shape)} for {len(logits)} images and {len(explained_classes)}"
            " explained classes; give one estimate an image and class."
        )


def _first_maximum(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 1) index and value of the maximum of each row."""
    index = logits.argmax(dim=1, keepdim=True)
    return index, logits.gather(1, index)
