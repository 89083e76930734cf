"""Weights of images in the means of each class's head: how much a class's own images count beside all others."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_modules.grouped_fit import Samples
from vitrine.data.contracts import TrainingData
from vitrine.explainers.srae.objectives import PositiveWeight


def class_weight(
    weight: PositiveWeight, data: TrainingData | None, row: int, index: int, *, sampled: bool = True
) -> float:
    """Weight of a class's own images in the means of its head.

    Args:
        weight: as the options have it.
        data: the datamodule; without one, ``balanced`` is 1.
        row: of the class among those that are explained.
        index: of the class.
        sampled: whether heads are fitted on samples of the images, where the datamodule draws some.
    """
    if weight != "balanced":
        return float(weight)
    if data is None:
        return 1.0
    counts = data.sample_counts() if sampled else None
    if counts is not None:
        positives, others = counts[row].tolist()
    else:
        positives = data.class_counts[index]
        others = data.train_count - positives
    return max(others, 1) / positives if positives else 1.0


def image_weights(samples: Samples, of_classes: Sequence[float]) -> Tensor:
    """(B, J') weight of each image in the means of each head; 0 where it is not among that head's samples."""
    weights = torch.where(samples.positive, samples.features.new_tensor(of_classes), 1.0)
    return weights if samples.sampled is None else weights * samples.sampled
