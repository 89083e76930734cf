"""Batches of samples: the typed dict that every data loader yields and every explainer reads."""

from typing import Any, TypedDict, cast

from torch import Tensor


class Batch(TypedDict, total=False):
    """One batch of B samples; which annotations it has follows from the data set.

    Streamed batches have ``image``; batches read from a feature store have ``features`` and ``logits`` instead.
    Coordinates are pixels of ``image`` but for entries ``source_…``; boxes are half open, x0 ≤ x < x1.
    """

    key: list[str]
    """Names of the samples, unique in a data set."""
    row: Tensor
    """(B,) int64: index of each sample in its split, in the order of the shards; only of streamed samples."""
    image: Tensor
    """(B, 3, H, W) float, normalised for the backbone."""
    label: Tensor
    """(B,) int64 class indices, or (B, C) float multi-hot."""
    mask: Tensor
    """(B, 1, H, W) uint8: 1 on the discriminative pixels, those that tell the class from others."""
    boxes: list[Tensor]
    """B tensors (k, 4) float: x0, y0, x1, y1 of each box."""
    box_labels: list[Tensor]
    """B tensors (k,) int64: the class of each box; absent where all boxes are of the image's one class."""
    box_difficult: list[Tensor]
    """B tensors (k,) bool: whether the object in each box is flagged as difficult to recognise."""
    source_size: Tensor
    """(B, 2) int64: height and width of each source image, upright, before it was resized and cropped; only with boxes."""
    source_window: Tensor
    """(B, 4) float: x0, y0, x1, y1 of the part of each source image that ``image`` shows, in pixels of the source."""
    source_boxes: list[Tensor]
    """As ``boxes``, in pixels of the source; also those outside of the window, none of them clipped."""
    source_box_labels: list[Tensor]
    """As ``box_labels``, of ``source_boxes``."""
    source_box_difficult: list[Tensor]
    """As ``box_difficult``, of ``source_boxes``."""
    parts: Tensor
    """(B, P, 3) float: x, y, visible (0 or 1)."""
    objects: Tensor
    """(B, 1, H, W) int64: object class of each pixel, 0 where unlabelled."""
    counterfactuals: Tensor
    """(B, P, 3, H, W) float, normalised as ``image``: image p shows the same without object p + 1."""
    features: Tensor
    """(B, d) float: inputs of the explainer's head."""
    logits: Tensor
    """(B, C) float: the backbone's logits."""
    sampled: Tensor
    """(B, J) bool: whether each of the J explained classes is fitted on the sample; all of them are where it is absent."""


class Features(TypedDict):
    """Features Z of a batch of images, with the logits of the same forward pass."""

    features: Tensor
    """(B, d) float32."""
    logits: Tensor
    """(B, C) float32."""


def repeat_per_class(batch: Batch) -> tuple[Batch, Tensor]:
    """Repeats each image of a multi-label batch once for each of its classes, so that each class can be explained.

    Args:
        batch: B samples with multi-hot labels (B, C).

    Returns:
        The batch with one sample for each of the P (image, class) pairs, in the order of the images, and the (P,) classes.
    """
    image_indices, classes = batch["label"].nonzero().unbind(dim=1)
    return repeat_rows(batch, image_indices), classes


def repeat_rows(batch: Batch, rows: Tensor) -> Batch:
    """A batch of some of a batch's samples, each as often and in the order as ``rows`` has it.

    Args:
        batch: B samples.
        rows: (R,) int64 places of samples in the batch.
    """
    entries: Any = batch.items()
    repeated: Any = {
        name: entry[rows.to(entry.device)] if isinstance(entry, Tensor) else [entry[row] for row in rows.tolist()]
        for name, entry in entries
    }
    return cast("Batch", repeated)
