"""The one typed dict that every data set yields and every explainer reads."""

from typing import TypedDict

from torch import Tensor


class Batch(TypedDict, total=False):
    """One batch of B samples; which annotations stand in it follows from the data set.

    Streamed batches hold ``image``; batches read back from a feature store hold ``features`` and ``logits`` in its place.
    Coordinates are pixels of ``image``; boxes are half open, x0 ≤ x < x1.
    """

    key: list[str]
    """Names of the samples, unique in a data set."""
    image: Tensor
    """(B, 3, H, W) float, normalised as the backbone takes it."""
    label: Tensor
    """(B,) int64 class indices, or (B, C) float multi-hot."""
    mask: Tensor
    """(B, 1, H, W) uint8: 1 on what tells the class from others."""
    boxes: list[Tensor]
    """One (k, 4) float tensor an image: x0, y0, x1, y1."""
    parts: Tensor
    """(B, P, 3) float: x, y, visible (0 or 1)."""
    objects: Tensor
    """(B, 1, H, W) int64 object class of each pixel, 0 where unlabelled."""
    features: Tensor
    """(B, d) float: what the explainer's head reads."""
    logits: Tensor
    """(B, C) float: the backbone's own logits."""
