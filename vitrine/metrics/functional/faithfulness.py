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

    The arguments are those of `absolute_difference`.

    Returns:
        (B, J) bool.
    """
    decision = logits.argmax(dim=1, keepdim=True)
    columns = []
    for column, index in zip(reconstruction.unbind(dim=1), explained_classes.tolist(), strict=True):
        replaced = logits.clone()
        replaced[:, index] = column.to(logits.dtype)
        columns.append(replaced.argmax(dim=1, keepdim=True) == decision)
    return torch.cat(columns, dim=1)
