"""What the methods share that explain by perturbing their input."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrine.attribution.base import Method, Unit
from vitrine.attribution.precision import in_full

Score = Callable[[Tensor], Tensor]
"""Takes (R, C, H, W) perturbed inputs to (R,) scores of what is explained in each."""


def gaussian_matrix(length: int, sigma: float, like: Tensor) -> Tensor:
    """(L, L) weights of a one-dimensional Gaussian blur of ``sigma`` pixels; each row sums to 1, also at the ends."""
    places = torch.arange(length, dtype=like.dtype, device=like.device)
    if sigma == 0:
        return torch.eye(length, dtype=like.dtype, device=like.device)
    return (-0.5 * ((places[:, None] - places) / sigma) ** 2).softmax(dim=1)


def enlarging_matrix(short: int, length: int, like: Tensor) -> Tensor:
    """(L, S) weights of linear interpolation from S cells to L pixels; corners are not aligned."""
    cells = torch.eye(short, dtype=like.dtype, device=like.device)
    return F.interpolate(cells[None], size=length, mode="linear", align_corners=False)[0].T


def along_both(rows: Tensor, images: Tensor, columns: Tensor) -> Tensor:
    """A separable linear filter of (…, h, w) images by (H, h) and (W, w) weights: (…, H, W).

    As products of matrices, its gradient adds up in the same order at every call, on any device.
    """
    return rows @ images @ columns.mT


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Blurs (…, H, W) images by a Gaussian of ``sigma`` pixels; a constant image stays constant up to its borders."""
    wide = in_full(images)
    height, width = images.shape[-2:]
    return along_both(gaussian_matrix(height, sigma, wide), wide, gaussian_matrix(width, sigma, wide)).to(images.dtype)


def total_variation(masks: Tensor, beta: float) -> Tensor:
    """Σ_u |∂m/∂y|^β + |∂m/∂x|^β of (B, 1, H, W) masks, by differences of neighbours: (B,)."""
    down, across = masks.diff(dim=-2), masks.diff(dim=-1)
    return (down.abs() ** beta).sum(dim=(1, 2, 3)) + (across.abs() ** beta).sum(dim=(1, 2, 3))


def unit_scores(output: Tensor, units: Tensor, *, probability: bool) -> Tensor:
    """Scores of the units (B, K) of a (B, n, …) output, averaged over its places: (B, K).

    Args:
        output: logits, or activations of a layer.
        units: indices along dimension 1.
        probability: whether the output goes through a softmax over dimension 1 first.
    """
    values = in_full(output)
    values = values.softmax(dim=1) if probability else values
    return values.unsqueeze(-1).flatten(2).mean(dim=2).gather(1, units)


def scorer(method: Method, unit: Unit, device_type: str, *, probability: bool) -> Callable[[Tensor], Score]:
    """Takes units (R,) to what takes (R, C, H, W) inputs to the score of each one's unit, as `unit_scores` has it.

    The model runs under the autocast that is on here, whatever is on where it is called: masks and their gradients are
    computed without.
    """
    dtype, enabled = torch.get_autocast_dtype(device_type), torch.is_autocast_enabled(device_type)

    def score(units: Tensor, images: Tensor) -> Tensor:
        with torch.autocast(device_type, dtype=dtype, enabled=enabled):
            output = method.explained_output(images, unit)
        return unit_scores(output, units[:, None], probability=probability).squeeze(1)

    return lambda units: partial(score, units)


def parts(count: int, size: int | None) -> list[slice]:
    """Slices of at most ``size`` that make up ``count`` rows; all at once without it, and one empty slice of nothing."""
    size = size or max(count, 1)
    return [slice(start, start + size) for start in range(0, max(count, 1), size)]


def explained_units(method: Method, inputs: Tensor, unit: Unit) -> Tensor:
    """(B, K) indices of what is explained, the predicted classes where none were given; by passes of bounded size."""
    with torch.no_grad():
        found = [
            unit.part(rows).of(method.explained_output(inputs[rows], unit.part(rows)))
            for rows in parts(len(inputs), method.internal_batch_size)
        ]
    return torch.cat(found)


def check_positive(**options: float) -> None:
    """Raises ValueError, naming the first, where options are not greater than 0."""
    for name, value in options.items():
        if not value > 0:
            raise ValueError(f"{name} is {value}; give a value greater than 0.")
