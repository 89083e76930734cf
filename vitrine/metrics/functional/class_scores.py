"""Scores of a class on many versions of the same images: its probability, its logit, or whether it is decided for."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from itertools import chain, islice
from typing import Literal

import torch
from torch import Tensor, nn

from vitrine.backbones.guard import eval_guard
from vitrine.backbones.outputs import class_logits
from vitrine.core.precision import in_full
from vitrine.core.probabilities import by_sigmoid, class_probabilities
from vitrine.metrics.functional.checks import checked_classes

MAX_FORWARD_BATCH = 64
"""Largest number of images in a forward pass, but that one version of all B goes through at once: it changes no result."""

Classify = Callable[[Tensor], Tensor]
"""Maps (B, 3, H, W) images, normalised for the backbone, to (B, C) logits; an ``nn.Module`` runs under `eval_guard`."""

Score = Literal["probability", "logit", "decision"]
"""``probability`` of the class, as in `class_probabilities`; its ``logit``; or its ``decision``: 1 where its logit is the
highest, or its own sigmoid at least ½, and 0 elsewhere."""


def class_scores(
    classify: Classify,
    versions: Iterable[Tensor],
    targets: Tensor,
    score: Score = "probability",
    *,
    multi_label: bool = False,
) -> Tensor:
    """Scores of each image's class on V versions of the images, made as they are needed.

    Args:
        classify: the network.
        versions: V times (B, C, H, W), of the same B images.
        targets: (B,) classes.
        score: what is read of the logits.
        multi_label: whether an image may have several classes, as in `class_probabilities`.

    Returns:
        (B, V), in float32 or wider.

    Raises:
        ValueError: for a class that the network has not.

    Example:
        >>> images = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)
        >>> class_scores(nn.Flatten(), [images, 3 * images], torch.tensor([0, 0]), "logit")
        tensor([[ 1.,  3.],
                [-1., -3.]])
    """
    count = max(len(targets), 1)
    parts = []
    with eval_guard(classify) if isinstance(classify, nn.Module) else nullcontext(), torch.no_grad():
        for group in _grouped(versions, max(1, MAX_FORWARD_BATCH // count)):
            images = torch.stack(group, dim=1).flatten(0, 1)
            logits = in_full(class_logits(classify(images), len(images)))
            checked_classes(targets, None, logits.shape[1])
            classes = targets.repeat_interleave(len(group))
            parts.append(_scores(logits, classes, score, multi_label=multi_label).reshape(len(targets), len(group)))
    return torch.cat(parts, dim=1)


def _scores(logits: Tensor, classes: Tensor, score: Score, *, multi_label: bool) -> Tensor:
    if score == "decision" and not by_sigmoid(logits, multi_label=multi_label):
        return (logits.argmax(dim=1) == classes).to(logits.dtype)
    values = logits if score == "logit" else class_probabilities(logits, multi_label=multi_label)
    of_classes = values.gather(1, classes[:, None])[:, 0]
    return (of_classes >= 0.5).to(logits.dtype) if score == "decision" else of_classes


def _grouped(versions: Iterable[Tensor], size: int) -> Iterator[list[Tensor]]:
    rest = iter(versions)
    for first in rest:
        yield list(chain([first], islice(rest, size - 1)))
