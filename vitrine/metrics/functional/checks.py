"""Checks of the maps, masks, boxes, classes and images that metrics are given."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def checked_tensor(values: Any, name: str, dimensions: str) -> Tensor:
    """The tensor, if it is a real one of so many dimensions.

    Args:
        values: what was given.
        name: of the argument.
        dimensions: names of the dimensions, such as ``B, H, W``.

    Raises:
        ValueError: for another type, or another number of dimensions.

    Example:
        >>> checked_tensor(torch.zeros(4, 5), "maps", "B, H, W")
        Traceback (most recent call last):
        ValueError: maps has the shape (4, 5); give (B, H, W).
    """
    if not isinstance(values, Tensor):
        raise ValueError(
            f"{name} is a {type(values).__name__}; give a tensor ({dimensions}), as torch.as_tensor makes."
        )
    if values.is_complex():
        raise ValueError(f"{name} holds complex numbers; give real ones.")
    if values.ndim != dimensions.count(",") + 1:
        raise ValueError(f"{name} has the shape {tuple(values.shape)}; give ({dimensions}).")
    return values


def checked_maps(maps: Any, name: str = "maps", dimensions: str = "B, H, W") -> Tensor:
    """The maps, those of integers or booleans in float64; their last two dimensions must not be empty.

    Raises:
        ValueError: as in `checked_tensor`, and for maps without pixels.
    """
    tensor = checked_tensor(maps, name, dimensions)
    if tensor.shape[-2:].numel() == 0:
        raise ValueError(f"{name} has the shape {tuple(tensor.shape)}, without pixels; give maps of the image's size.")
    return tensor if tensor.is_floating_point() else tensor.double()


def checked_masks(masks: Any, maps: Tensor, name: str = "masks") -> Tensor:
    """The masks, if there is one of the same size for each map.

    Args:
        masks: non-zero on the object; booleans, integers or floats.
        maps: (…, H, W).
        name: of the argument.

    Raises:
        ValueError: for another type or shape, and for NaN, which is neither inside nor outside.

    Example:
        >>> checked_masks(torch.ones(1, 8, 8), torch.rand(2, 8, 8))
        Traceback (most recent call last):
        ValueError: masks has the shape (1, 8, 8) and the maps (2, 8, 8); give one mask a map, of the same size.
    """
    tensor = checked_tensor(masks, name, ", ".join("…" * (maps.ndim - 2) + "HW"))
    if tensor.shape != maps.shape:
        raise ValueError(
            f"{name} has the shape {tuple(tensor.shape)} and the maps {tuple(maps.shape)}; give one mask a map, of the same"
            " size."
        )
    if tensor.is_floating_point() and bool(tensor.isnan().any()):
        raise ValueError(f"{name} holds NaN; give 0 outside of the object and another number on it.")
    return tensor


def checked_box_rows(boxes: Any, name: str = "boxes") -> Tensor:
    """The (k, 4) boxes x0, y0, x1, y1 of one image, if none is flipped; those of no area contain no pixel.

    Raises:
        ValueError: for another type or shape, NaN or infinity, and for x0 > x1 or y0 > y1.

    Example:
        >>> checked_box_rows(torch.tensor([[24.0, 8.0, 8.0, 24.0]]))
        Traceback (most recent call last):
        ValueError: boxes holds [24.0, 8.0, 8.0, 24.0]; give x0, y0, x1, y1 with x0 ≤ x1 and y0 ≤ y1, all finite.
    """
    rows = checked_tensor(boxes, name, "k, 4")
    if rows.shape[1] != 4:
        raise ValueError(f"{name} has the shape {tuple(rows.shape)}; give (k, 4).")
    wrong = rows[~(rows[:, :2] <= rows[:, 2:]).all(dim=1) | ~rows.isfinite().all(dim=1)]
    if len(wrong):
        raise ValueError(f"{name} holds {wrong[0].tolist()}; give x0, y0, x1, y1 with x0 ≤ x1 and y0 ≤ y1, all finite.")
    return rows


def checked_boxes(boxes: Any, count: int) -> list[Tensor]:
    """The boxes of each image, as `checked_box_rows`; None becomes (0, 4).

    Args:
        boxes: a (k, 4) tensor or None for each image.
        count: number of images.

    Raises:
        ValueError: also for another number of images.
    """
    if not isinstance(boxes, Sequence | Tensor) or isinstance(boxes, str) or len(boxes) != count:
        given = f"a {type(boxes).__name__}" + (f" of {len(boxes)}" if hasattr(boxes, "__len__") else "")
        raise ValueError(f"boxes is {given} for {count} maps; give a list with one tensor (k, 4) a map.")
    return [
        torch.zeros(0, 4) if rows is None else checked_box_rows(rows, f"boxes[{image}]")
        for image, rows in enumerate(boxes)
    ]


def checked_classes(classes: Any, count: int | None, num_classes: int | None = None, name: str = "targets") -> Tensor:
    """The (B,) classes, if they are integers in range.

    Args:
        classes: what was given.
        count: B; any number without it.
        num_classes: C; only negative classes are out of range without it.
        name: of the argument.

    Raises:
        ValueError: for another type, shape or number, and for a class out of range.

    Example:
        >>> checked_classes(torch.tensor([0, 5]), 2, 3)
        Traceback (most recent call last):
        ValueError: targets holds 5; give classes from 0 to 2.
    """
    tensor = checked_tensor(classes, name, "B")
    if count is not None and len(tensor) != count:
        raise ValueError(f"{name} has the shape {tuple(tensor.shape)} for {count} images; give one class an image.")
    if tensor.is_floating_point() or tensor.dtype == torch.bool:
        raise ValueError(f"{name} is {tensor.dtype}; give the classes as integers, such as torch.int64.")
    tensor = tensor.long()
    wrong = tensor[(tensor < 0) | (tensor >= (2**62 if num_classes is None else num_classes))]
    if len(wrong):
        allowed = "of at least 0" if num_classes is None else f"from 0 to {num_classes - 1}"
        raise ValueError(f"{name} holds {int(wrong[0])}; give classes {allowed}.")
    return tensor


def checked_images(images: Any, maps: Any, name: str = "maps") -> Tensor:
    """The (B, C, H, W) images, if they are finite floats of the (B, H, W) maps' number and size.

    Raises:
        ValueError: for another type, shape or number, and for NaN or infinity.
    """
    tensor = checked_tensor(images, "images", "B, C, H, W")
    if not tensor.is_floating_point():
        raise ValueError(f"images is {tensor.dtype}; give floats, normalised for the network by its preprocessing.")
    size = (len(tensor), *tensor.shape[2:])
    if not isinstance(maps, Tensor) or maps.shape != size:
        given = tuple(maps.shape) if isinstance(maps, Tensor) else f"a {type(maps).__name__}"
        raise ValueError(f"{name} must be {size}, got {given}.")
    if not bool(tensor.isfinite().all()):
        raise ValueError("images holds NaN or infinity; give finite numbers.")
    return tensor


def checked_same_shape(one: Tensor, other: Tensor, names: tuple[str, str]) -> None:
    """Raises ValueError unless both tensors have one shape.

    Example:
        >>> checked_same_shape(torch.zeros(2, 3), torch.zeros(1, 3), ("logits", "labels"))
        Traceback (most recent call last):
        ValueError: logits has the shape (2, 3) and labels (1, 3); give both of one shape.
    """
    if one.shape != other.shape:
        raise ValueError(
            f"{names[0]} has the shape {tuple(one.shape)} and {names[1]} {tuple(other.shape)}; give both of one shape."
        )
