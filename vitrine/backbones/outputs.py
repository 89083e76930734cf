"""The logits (B, n) in what a model returns: a tensor, a dict, a tuple, a dataclass, maps of logits, one value an image."""

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

OutputChoice = str | int | Callable[[Any], Tensor]
"""Which part of a model's output is explained: a key or an attribute, a place in a tuple, or a function of the output."""

USUAL_NAMES = ("logits", "out")
"""Keys and attributes under which libraries return the logits: of Hugging Face, and of torchvision's segmentation."""


def class_logits(output: Any, batch_size: int, choice: OutputChoice | None = None) -> Tensor:
    """The (B, n) logits in the output of a model.

    Maps of logits (B, n, …) give their mean over all places, and one value an image, (B,), is n = 1 logit.

    Args:
        output: of the model for B inputs.
        batch_size: B.
        choice: which part of the output; without it the output itself where it is a tensor, else ``logits`` or ``out``, or
            the one tensor of a tuple.

    Raises:
        ValueError: where no one part holds the logits, or that part is not (B, …) with floating-point numbers.

    Example:
        >>> class_logits({"logits": torch.zeros(2, 5), "features": torch.zeros(2, 8)}, 2).shape
        torch.Size([2, 5])
        >>> class_logits((torch.zeros(2), torch.zeros(2, 3, 4, 4)), 2, choice=1).shape
        torch.Size([2, 3])
    """
    logits = chosen_part(output, choice)
    if not isinstance(logits, Tensor):
        raise ValueError(f"The output of the model is a {_described(logits)}; say which part of it by output=….")
    if logits.ndim < 1 or len(logits) != batch_size:
        raise ValueError(
            f"The output of the model must be (B, n, …) with B = {batch_size}, got {tuple(logits.shape)}; say which part of"
            " the output by output=…."
        )
    if not logits.is_floating_point():
        raise ValueError(
            f"The output of the model is {logits.dtype}, which holds no logits; explain what it is made of."
        )
    if logits.ndim == 1:
        return logits[:, None]
    if math.prod(logits.shape[2:]) == 1:
        return logits.flatten(1)  # a mean of one place would be the pooling that CAM looks for
    return logits.flatten(2).mean(dim=2)


def chosen_part(output: Any, choice: OutputChoice | None) -> Any:
    """The part of an output that holds the logits, as `class_logits` finds it.

    Raises:
        ValueError: where the choice is no part of it.
    """
    if callable(choice):
        return choice(output)
    parts = _parts(output)
    if choice is not None:
        if choice not in parts:
            known = ", ".join(map(repr, parts)) or "none"
            raise ValueError(
                f"output={choice!r} is no part of the model's {type(output).__name__}; its parts: {known}."
            )
        return parts[choice]
    if isinstance(output, Tensor):
        return output
    named = [parts[name] for name in USUAL_NAMES if isinstance(parts.get(name), Tensor)]
    if named or not isinstance(output, Sequence):
        return named[0] if named else output
    tensors = [value for value in output if isinstance(value, Tensor)]
    return tensors[0] if len(tensors) == 1 else output


def _parts(output: Any) -> dict[str | int, Any]:
    """The parts of an output by key, place or attribute."""
    if isinstance(output, Tensor):
        return {}
    if isinstance(output, Mapping):
        return dict(output)
    parts: dict[str | int, Any] = {}
    if isinstance(output, Sequence) and not isinstance(output, str):
        parts.update(enumerate(output))
        fields = getattr(output, "_fields", ())  # of a named tuple: the same parts, which count once
        return {name: parts[index] for index, name in enumerate(fields)} if fields else parts
    return {name: value for name, value in getattr(output, "__dict__", {}).items() if not name.startswith("_")}


def _described(output: Any) -> str:
    parts = ", ".join(repr(name) for name in _parts(output))
    return f"{type(output).__name__} of {parts}" if parts else type(output).__name__


class LogitsHook:
    """A forward hook by which a model returns its (B, n) logits, whatever it returns otherwise.

    Args:
        choice: as in `class_logits`.
        thread: the thread for whose passes it holds; all of them without it.
    """

    def __init__(self, choice: OutputChoice | None = None, thread: int | None = None) -> None:
        self.choice = choice
        self.thread = thread

    def __call__(self, _module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Tensor | None:
        """The logits in the output, or None to leave it alone."""
        if self.thread not in {None, threading.get_ident()}:
            return None
        return class_logits(output, len(inputs[0]), self.choice)


@contextmanager
def logits_given(model: nn.Module, choice: OutputChoice | None = None) -> Iterator[None]:
    """Within it the model returns its (B, n) logits to this thread; its own forward hooks see the output as it is."""
    if isinstance(model, torch.jit.ScriptModule):  # it takes no hooks
        yield
        return
    handle = model.register_forward_hook(LogitsHook(choice, threading.get_ident()))
    try:
        yield
    finally:
        handle.remove()
