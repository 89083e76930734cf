"""Captum's forms of the arguments of ``attribute``: tuples of tensors, targets of several indices, input-shaped maps."""

from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor

from vitrine.attribution.targets import Indices
from vitrine.backbones.outputs import OutputChoice, chosen_part

Inputs = Tensor | tuple[Tensor, ...]
"""One tensor, or a tuple of one tensor, as Captum's metrics pass it on."""
Places = tuple[int, ...]
"""An index along each dimension of the model's output after the first, such as class, row and column of a map of logits."""
ScoreFunction = Callable[[Any], Tensor]
"""A target function: takes the model's raw output for B inputs to the (B,) scores that are explained."""
AnyTarget = Indices | Places | Sequence[Places] | ScoreFunction
"""All that can be explained by ``target``."""


def single_tensor(inputs: Any, additional_forward_args: object = None) -> Any:
    """The tensor in a tuple of one; anything else as it is.

    Raises:
        ValueError: for several tensors, or further arguments of the model, as models take images alone.
    """
    if additional_forward_args is not None:
        raise ValueError(
            "additional_forward_args are not taken, as models are called with images alone; wrap the model in an nn.Module"
            " whose forward adds them."
        )
    if not isinstance(inputs, tuple):
        return inputs
    if len(inputs) != 1:
        raise ValueError(f"inputs are a tuple of {len(inputs)}; a model takes one tensor of images, so give one.")
    return inputs[0]


def in_callers_form(maps: Tensor, inputs: Inputs, *, input_shaped: bool) -> Any:
    """Maps as the caller asked for them: with all channels of the input, and in a tuple where the inputs were in one.

    Args:
        maps: (B, …, C or 1, H, W).
        inputs: what the caller gave.
        input_shaped: whether maps of one channel are repeated for each channel of the input.
    """
    if input_shaped:
        channels = single_tensor(inputs).shape[1]
        maps = maps.expand(*maps.shape[:-3], channels, *maps.shape[-2:]).contiguous()  # Captum takes views of them
    return (maps,) if isinstance(inputs, tuple) else maps


def plain_target(target: Any, choice: OutputChoice | None, num_dimensions: Callable[[], int]) -> Any:
    """A target as `Indices`, as a `ScoreFunction`, or as a list of them, one for each input.

    Args:
        target: as Captum takes it, or a function.
        choice: which part of the model's output, as in `vitrine.backbones.outputs.class_logits`.
        num_dimensions: of the model's output without the first; asked for where the meaning of a target hangs on it.
    """
    if isinstance(target, Tensor) and target.shape == (1,):
        return target[0]
    if isinstance(target, tuple) and len(target) == 1:
        return target[0]
    if isinstance(target, tuple) and _is_index(target) and num_dimensions() == len(target):
        return PlaceScore(target, choice)
    if isinstance(target, list) and target and all(isinstance(one, tuple) and _is_index(one) for one in target):
        if all(len(one) == 1 for one in target):
            return [one[0] for one in target]
        dimensions = num_dimensions()
        if all(len(one) == dimensions for one in target):
            return [PlaceScore(one, choice) for one in target]
    return target


def is_plain(target: Any) -> TypeGuard[Indices | None]:
    """Whether a target is of `Indices` for sure, or None, so that nothing has to be known of the output."""
    first = target[0] if isinstance(target, list) and target else target
    return not callable(target) and not isinstance(first, tuple)


def _is_index(places: tuple[Any, ...]) -> bool:
    return all(isinstance(place, int) and not isinstance(place, bool) for place in places)


class PlaceScore:
    """The score at one place of an output of several dimensions, such as one pixel of a class's map of logits.

    Args:
        places: an index along each dimension after the first.
        choice: which part of the output, as in `vitrine.backbones.outputs.class_logits`.

    Example:
        >>> PlaceScore((1, 0, 2))(torch.arange(24).view(2, 2, 2, 3)).tolist()
        [8, 20]
    """

    def __init__(self, places: Places, choice: OutputChoice | None = None) -> None:
        self.places = places
        self.choice = choice

    def __call__(self, output: Any) -> Tensor:
        """(B,) scores of an output.

        Raises:
            ValueError: where there is no such place.
        """
        tensor = chosen_part(output, self.choice)
        shape = tuple(tensor.shape[1:])
        if not all(0 <= place < length for place, length in zip(self.places, shape, strict=True)):
            raise ValueError(
                f"target {self.places} is no place of the model's output, which is {shape} for each input."
            )
        scores: Tensor = tensor[(slice(None), *self.places)]
        return scores


def checked_scores(function: ScoreFunction) -> ScoreFunction:
    """The function, whose result is made sure to be (B,) scores."""

    def scores(output: Any) -> Tensor:
        found = function(output)
        if not isinstance(found, Tensor) or found.ndim != 1:
            got = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(f"The target function must give a tensor of one score for each input, (B,), got {got}.")
        return found if found.is_floating_point() else found.to(torch.get_default_dtype())

    return scores
