"""What the methods that hand their work to Captum share."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from vitrine.attribution.base import Method, Unit


def captum_attr(method: str) -> Any:
    """The module ``captum.attr``, which takes seconds to import and is an optional extra.

    Raises:
        ModuleNotFoundError: where Captum is not installed.
    """
    try:
        from captum import attr  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{method} needs Captum: pip install 'vitrine[baselines]'") from error
    return attr


def forward_function(method: Method, unit: Unit) -> Callable[[Tensor], Tensor]:
    """Maps inputs to (B, n), as Captum takes it: logits, or the sums of a layer's channels over space."""
    # A copy enters the model, whose first operator may work in place.
    return lambda inputs: summed_over_places(method.explained_output(inputs.clone(), unit))


def summed_over_places(output: Tensor) -> Tensor:
    """(B, n) sums of a (B, n, …) output over its places."""
    return output.flatten(2).sum(dim=2) if output.ndim > 2 else output
