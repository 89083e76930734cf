"""Rules of excitation backprop for normalisations, whose statistics are gates: layer, RMS, group and instance norm.

With its mean and deviation as constants a normalisation is y = γ (x − μ) / σ + β: a shift by −μ and β, which gets no mass,
and a factor γ / σ, of which the sign counts as that of a batch norm does.
"""

from typing import Any

import torch
from torch import Tensor

from vitrine.attribution.autograd.calls import Call, carries
from vitrine.attribution.excitation.constant_factors import ConstantFactors
from vitrine.attribution.excitation.passing import shifted

PLACES = {"layer_norm": 2, "rms_norm": 2, "group_norm": 2, "instance_norm": 3}
"""Positions of γ in the functions of `torch.nn.functional`."""


def normalise(call: Call, factors: ConstantFactors) -> Any:
    """Passes mass as a constant factor γ does."""
    x = call.operand
    if not carries(x):
        return NotImplemented
    weight = _weight(call)
    if weight is None or carries(weight):
        return shifted(call, x)
    return factors.scaled(call, x, weight)


def _weight(call: Call) -> Tensor | None:
    """γ in a shape that broadcasts to the operand; None if there is none."""
    place = PLACES.get(call.name)
    if place is None:
        return None
    if call.function is torch.instance_norm:
        place = 1
    weight: Tensor | None = call.argument(place, "weight")
    if weight is None or call.name in {"layer_norm", "rms_norm"}:
        return weight
    return weight.view(-1, *[1] * (call.operand.ndim - 2))
