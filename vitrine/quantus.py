"""Quantus: Vitrine's methods and explainers as the ``explain_func`` of its metrics.

This package does not need Quantus, and Quantus not this module's install: it calls a plain function with arrays.
"""

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vitrine.attribution.registry import method_named
from vitrine.attribution.short_names import find_method
from vitrine.backbones.image_sizes import blank_image


class Attributing(Protocol):
    """What gives maps: an attribution method or an explainer."""

    def attribute(self, inputs: Tensor, target: Tensor) -> Tensor:
        """(B, C or 1, H, W) maps."""


def explain_func(
    model: nn.Module,
    inputs: NDArray[Any] | Tensor,
    targets: NDArray[Any] | Tensor,
    *,
    method: str | Attributing = "GradCAM",
    device: str | torch.device | None = None,
    **arguments: Any,
) -> NDArray[np.float32]:
    """Maps of a batch as Quantus' metrics ask for them.

    Args:
        model: as Quantus passes it, perhaps with other weights than at first.
        inputs: (B, C, H, W) as the model takes them.
        targets: (B,) classes.
        method: name of a method of `vitrine.attribution`, also a short one, or a method or explainer that was made on a model
            whose weights stay as they are; metrics of randomised weights need a name.
        device: where the model and the inputs are; that of the model's weights without it.
        arguments: of the method's constructor, such as ``layer``; others that Quantus passes to every function are not there.

    Returns:
        (B, 1, H, W) or, of gradient-like methods, (B, C, H, W).

    Raises:
        ValueError: for an unknown method, arguments that it does not take, and inputs that the model does not take.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
        >>> explain_func(model, np.zeros((2, 3, 8, 8)), np.array([1, 4]), method="Saliency").shape
        (2, 3, 8, 8)
    """
    like = blank_image(model, 1)
    images = torch.as_tensor(np.asarray(inputs) if not isinstance(inputs, Tensor) else inputs)
    images = images.to(device=device or like.device, dtype=like.dtype)
    classes = torch.as_tensor(np.asarray(targets) if not isinstance(targets, Tensor) else targets)
    found = _made(model, method, arguments).attribute(images, classes.to(images.device).long())
    maps: NDArray[np.float32] = found.detach().float().cpu().numpy()
    return maps


def _made(model: nn.Module, method: str | Attributing, arguments: dict[str, Any]) -> Attributing:
    if not isinstance(method, str):
        if arguments:
            raise ValueError(f"method is made already, and {', '.join(arguments)} would not count; leave them out.")
        return method
    named = find_method(method)
    try:
        made: Attributing = method_named(named.method)(model, **{**named.arguments, **arguments})
    except TypeError as error:
        raise ValueError(f"{named.method} does not take all of {', '.join(arguments)}: {error}.") from error
    return made
