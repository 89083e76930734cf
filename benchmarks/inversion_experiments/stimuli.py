"""Stimuli: two objects on one canvas, adversarial images (FGSM), and the agreement of the maps of two images."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.inversion_experiments.sources import Scene, probabilities
from vitrine.data.preprocessing import Preprocessing
from vitrine.metrics.functional import degenerate

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


class Attacked(NamedTuple):
    """Images after an attack that is as weak as changes the prediction."""

    images: Tensor
    """(B, 3, S, S); of those that withstand it, under the strongest attack."""
    noise: Tensor
    """(B, 3, S, S): the same strength with random signs."""
    epsilon: Tensor
    """(B,) of colours in [0, 1]."""
    prediction: Tensor
    """(B,)."""
    chance: Tensor
    """(B,) its probability."""
    flipped: Tensor
    """(B,) bool: whether the prediction is another class, with the probability asked for."""


def signs(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """(B, 3, S, S) in −1, 0, 1: where brighter pixels raise the cross-entropy loss."""
    with torch.enable_grad():
        pixels = images.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(pixels), labels, reduction="sum"), [pixels])
    return gradient.sign()


def moved(images: Tensor, direction: Tensor, epsilon: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Gives x + ε · direction in colours, cut to [0, 1], as inputs again.

    Args:
        images: (B, 3, S, S) normalised x.
        direction: (B, 3, S, S).
        epsilon: (B,) of colours.
        preprocessing: what x was normalised by.
    """
    mean, std = (images.new_tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
    colours = images * std + mean + epsilon.to(images)[:, None, None, None] * direction
    return (colours.clamp(0, 1) - mean) / std


def attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    epsilons: Sequence[float],
    preprocessing: Preprocessing,
    *,
    chance: float = 0.0,
    seed: int = 0,
) -> Attacked:
    """Attacks each image with the smallest of rising ε that changes its prediction.

    Args:
        model: in eval mode, its weights frozen.
        images: (B, 3, S, S) normalised.
        labels: (B,) what it predicts.
        epsilons: of colours in [0, 1].
        preprocessing: what they were normalised by.
        chance: probability of the wrong class, at least.
        seed: of the random signs.
    """
    direction = signs(model, images, labels)
    strength = torch.full((len(images),), float("nan"))
    flipped = torch.zeros(len(images), dtype=torch.bool)
    prediction, seen = labels.cpu().clone(), torch.zeros(len(images))
    for epsilon in sorted(epsilons):
        rows = (~flipped).nonzero().squeeze(1)
        if not len(rows):
            break
        strength[rows] = epsilon
        tried = moved(images[rows], direction[rows], strength[rows], preprocessing)
        with torch.no_grad():
            seen[rows], prediction[rows] = model(tried).float().softmax(dim=1).cpu().max(dim=1)
        flipped = (prediction != labels.cpu()) & (seen >= chance)
    generator = torch.Generator().manual_seed(seed)
    random = torch.randint(0, 2, images.shape[1:], generator=generator).to(images) * 2 - 1
    noise = moved(images, random.expand_as(images), strength, preprocessing)
    return Attacked(moved(images, direction, strength, preprocessing), noise, strength, prediction, seen, flipped)


def correlations(one: Tensor, other: Tensor) -> Tensor:
    """(B,) float64 Pearson correlations over the pixels of (B, H, W) maps; NaN where either is degenerate."""
    nothing = degenerate(one) | degenerate(other)
    a, b = (_centred(maps) for maps in (one, other))
    found: Tensor = (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1))
    return found.masked_fill(nothing, torch.nan)


def _centred(maps: Tensor) -> Tensor:
    flat = maps.flatten(1).double()
    flat = flat / flat.abs().amax(dim=1, keepdim=True)  # maps of tiny gradients have squares that vanish
    return flat - flat.mean(dim=1, keepdim=True)


def overlaps(one: Tensor, other: Tensor) -> Tensor:
    """(B,) float64 IoU of where (B, H, W) maps are above their means; NaN where either is degenerate."""
    a, b = (_on(maps) for maps in (one, other))
    found: Tensor = (a & b).sum(dim=1).double() / (a | b).sum(dim=1)
    return found.masked_fill(degenerate(one) | degenerate(other), torch.nan)


def _on(maps: Tensor) -> Tensor:
    flat = maps.flatten(1).double()
    return flat > flat.mean(dim=1, keepdim=True)
