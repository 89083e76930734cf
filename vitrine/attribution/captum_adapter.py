"""Captum: its import, and the forward function that its methods take."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from vitrine.attribution.base import Method
from vitrine.attribution.targets import Target


def captum_attr(method: str) -> Any:
    """The module ``captum.attr``, which takes seconds to import and is an optional dependency.

    Raises:
        ModuleNotFoundError: if Captum is not installed.
    """
    try:
        from captum import attr  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{method} needs Captum: pip install 'vitrine[baselines]'") from error
    return attr


def forward_function(method: Method, target: Target) -> Callable[[Tensor], Tensor]:
    """The function of the inputs that Captum explains: (B, n) logits, or the spatial sums of a layer's channels."""
    # A copy enters the model, whose first operator may work in place.
    return lambda inputs: spatial_sums(method.explained_output(inputs.clone(), target))


def spatial_sums(output: Tensor) -> Tensor:
    """(B, n) sums of a (B, n, …) output over its places."""
    return output.flatten(2).sum(dim=2) if output.ndim > 2 else output
