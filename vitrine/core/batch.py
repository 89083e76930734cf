"""The one typed dict that every data set yields and every explainer reads."""

from typing import Any, TypedDict

from torch import Tensor


class Batch(TypedDict, total=False):
    """One batch of B samples; which annotations stand in it follows from the data set.

    Streamed batches hold ``image``; batches read back from a feature store hold ``features`` and ``logits`` in its place.
    Coordinates are pixels of ``image``; boxes are half open, x0 ≤ x < x1.
    """

    key: list[str]
    """Names of the samples, unique in a data set."""
    row: Tensor
    """(B,) int64: each sample's place in its split, in the order of the shards; only streamed samples of shards have it."""
    image: Tensor
    """(B, 3, H, W) float, normalised as the backbone takes it."""
    label: Tensor
    """(B,) int64 class indices, or (B, C) float multi-hot."""
    mask: Tensor
    """(B, 1, H, W) uint8: 1 on what tells the class from others."""
    boxes: list[Tensor]
    """One (k, 4) float tensor an image: x0, y0, x1, y1."""
    box_labels: list[Tensor]
    """One (k,) int64 tensor an image: the class of each box; absent where all are of the image's one class."""
    box_difficult: list[Tensor]
    """One (k,) bool tensor an image: whether the object in a box is hard to recognise."""
    parts: Tensor
    """(B, P, 3) float: x, y, visible (0 or 1)."""
    objects: Tensor
    """(B, 1, H, W) int64 object class of each pixel, 0 where unlabelled."""
    features: Tensor
    """(B, d) float: what the explainer's head reads."""
    logits: Tensor
    """(B, C) float: the backbone's own logits."""
    sampled: Tensor
    """(B, J) bool: whether each of the J explained classes is fitted on the sample, in their order; where it is absent,
    all of them are."""


class Features(TypedDict):
    """Z, and the logits that came with it from the same forward pass."""

    features: Tensor
    """(B, d) float32."""
    logits: Tensor
    """(B, C) float32."""


def one_row_a_class(batch: Batch) -> tuple[Batch, Tensor]:
    """Repeats each image of a multi-label batch for each of its classes, so that each of them can be explained.

    Args:
        batch: B samples with multi-hot labels (B, C).

    Returns:
        The batch with a row for each (image, class) pair, image by image, and the (pairs,) classes.
    """
    rows, classes = batch["label"].nonzero().unbind(dim=1)
    values: Any = batch.items()
    repeated: Any = {
        name: value[rows] if isinstance(value, Tensor) else [value[row] for row in rows.tolist()]
        for name, value in values
    }
    return repeated, classes
