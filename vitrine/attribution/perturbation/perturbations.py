"""What the methods share that explain by perturbing their input."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from vitrine.attribution.base import Method, Unit
from vitrine.core.precision import in_full

Score = Callable[[Tensor], Tensor]
"""Takes (R, C, H, W) perturbed inputs to (R,) scores of what is explained in each."""


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
