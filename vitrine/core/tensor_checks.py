"""Checks of tensors that were read from a file: their shape, their kind of numbers, and that these are finite."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor


def check_tensors(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], source: str, buffers: Collection[str] = ()
) -> None:
    """Checks that tensors make sense in the place of others. Those that stand on one side alone are not looked at.

    Args:
        found: by name.
        wanted: by name, those in whose place they are to go.
        source: what a message begins with, such as the file.
        buffers: names of those that may be infinite or NaN wherever the wanted one is, such as masks of attention.

    Raises:
        ValueError: for the first that has another shape or kind of numbers, or is not finite in the wanted precision.
    """
    for name, value in found.items():
        if name not in wanted:
            continue
        fault = _fault(value, wanted[name])
        fault = fault or _not_finite(value, wanted[name], may_be=name in buffers)
        if fault is not None:
            raise ValueError(f"{source}: {name!r} {fault}.")


def _fault(value: Tensor, wanted: Tensor) -> str | None:
    if value.is_meta or value.is_quantized or value.layout != torch.strided:
        kind = "a meta tensor" if value.is_meta else "quantised" if value.is_quantized else "sparse"
        return f"is {kind}; save it as a plain tensor"
    if value.shape != wanted.shape:
        return f"has shape {tuple(value.shape)} there and {tuple(wanted.shape)} here; give those of the same options"
    if _kind(value) != _kind(wanted):
        return f"is of {value.dtype} there and {wanted.dtype} here; save it in that type"
    return None


def _kind(tensor: Tensor) -> str:
    return "complex" if tensor.is_complex() else "float" if tensor.is_floating_point() else "whole"


def _not_finite(value: Tensor, wanted: Tensor, *, may_be: bool) -> str | None:
    if _kind(wanted) == "whole":
        return None
    wrong = ~value.detach().cpu().to(wanted.dtype).isfinite()
    if may_be:
        wrong &= wanted.detach().cpu().isfinite()
    count = int(wrong.sum())
    if not count:
        return None
    return f"has {count} of {wrong.numel()} entries that are NaN or infinite; give weights of a training that went well"
