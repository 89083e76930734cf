"""Class probabilities from logits: softmax, or sigmoid for one logit and for several labels an image."""

import torch.nn.functional as F
from torch import Tensor

from vitrine.core.precision import in_full


def class_probabilities(logits: Tensor, *, multi_label: bool = False) -> Tensor:
    """Probabilities in float32 or wider.

    One logit z is the second of the two logits (0, z), of which the softmax is the sigmoid of z; the softmax of z alone would
    be 1 for every image.

    Args:
        logits: (B, C).
        multi_label: whether an image may have several of the classes, each with a probability of its own.

    Returns:
        (B, C): sigmoids for one logit or several labels, a softmax otherwise.

    Example:
        >>> import torch
        >>> class_probabilities(torch.tensor([[0.0]])).item()
        0.5
    """
    logits = in_full(logits)
    return logits.sigmoid() if by_sigmoid(logits, multi_label=multi_label) else logits.softmax(dim=1)


def class_log_probabilities(logits: Tensor, *, multi_label: bool = False) -> Tensor:
    """Logarithms of `class_probabilities`, exact also where a probability is near 0."""
    logits = in_full(logits)
    return F.logsigmoid(logits) if by_sigmoid(logits, multi_label=multi_label) else logits.log_softmax(dim=1)


def by_sigmoid(logits: Tensor, *, multi_label: bool = False) -> bool:
    """Whether each logit has a probability of its own."""
    return multi_label or logits.shape[1] == 1
