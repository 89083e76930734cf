"""Two recognised objects side by side on one canvas."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.inversion_experiments.sources import Scene, probabilities

CANVASES = ("squashed", "cropped")


class Pair(NamedTuple):
    """A canvas with an object on each side."""

    image: Tensor
    """(3, S, S)."""
    classes: tuple[int, int]
    """Of the left and the right half."""
    chances: tuple[float, float]
    """Their probabilities."""
    names: tuple[str, str]


def canvas_of(left: Tensor, right: Tensor, kind: str) -> Tensor:
    """(3, S, S) from two of that size: each ``squashed`` to half of its width, or ``cropped`` to its middle half."""
    side = left.shape[-1]
    widths = side // 2, side - side // 2
    return torch.cat([_narrowed(half, width, kind) for half, width in zip((left, right), widths, strict=True)], dim=2)


def _narrowed(image: Tensor, width: int, kind: str) -> Tensor:
    height, side = image.shape[-2:]
    if kind == "squashed":
        return F.interpolate(image[None], (height, width), mode="bilinear", antialias=True)[0]
    start = (side - width) // 2
    return image[..., start : start + width]


def half_boxes(side: int) -> Tensor:
    """(2, 1, 4) float64: the left and the right half of a canvas."""
    middle = side // 2
    return torch.tensor([[[0, 0, middle, side]], [[middle, 0, side, side]]], dtype=torch.float64)


def pairs(scenes: Iterator[Scene], model: nn.Module, device: str, kind: str, top: int) -> Iterator[Pair | None]:
    """Canvases of recognised images, two after the other, of different classes; None where a canvas is not recognised.

    Args:
        scenes: recognised ones.
        model: sees the canvas.
        device: of the model.
        kind: see `canvas_of`.
        top: both classes have to be among so many of the highest logits; 0 for no such demand.
    """
    waiting: Scene | None = None
    for scene in scenes:
        if waiting is None or waiting.label == scene.label:
            waiting = scene
            continue
        canvas = canvas_of(waiting.image, scene.image, kind)
        yield _pair(canvas, waiting, scene, probabilities(model, canvas[None].to(device))[0], top)
        waiting = None


def _pair(canvas: Tensor, left: Scene, right: Scene, chances: Tensor, top: int) -> Pair | None:
    if left.label is None or right.label is None:
        return None
    classes = (left.label, right.label)
    seen = set(chances.topk(min(top or len(chances), len(chances))).indices.tolist())
    if not seen >= set(classes):
        return None
    return Pair(canvas, classes, (float(chances[classes[0]]), float(chances[classes[1]])), (left.name, right.name))


def first_pairs(found: Iterator[Pair | None], count: int) -> tuple[list[Pair], int]:
    """So many pairs, and how many canvases it took.

    Raises:
        ValueError: where there is none.
    """
    kept: list[Pair] = []
    tried = 0
    for pair in found:
        tried += 1
        if pair is not None:
            kept.append(pair)
        if len(kept) == count:
            break
    if not kept:
        raise ValueError(
            f"The network recognises both objects on none of {tried} canvases; give --top 0, --canvas cropped or more images."
        )
    return kept, tried
