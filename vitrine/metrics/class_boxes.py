"""Boxes of the classes that are explained."""

from torch import Tensor

from vitrine.batch import Batch


def boxes_of_classes(batch: Batch, classes: Tensor) -> list[Tensor]:
    """The boxes of each image that show its explained class; all of them where the batch has no ``box_labels``.

    Args:
        batch: of B images, with ``boxes``.
        classes: (B,).

    Returns:
        B tensors (k, 4).
    """
    if "box_labels" not in batch:
        return list(batch["boxes"])
    labelled = zip(batch["boxes"], batch["box_labels"], classes.tolist(), strict=True)
    return [boxes[labels == label] for boxes, labels, label in labelled]
