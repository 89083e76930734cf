"""Eval guard: a network is in eval mode within it, and afterwards as it was before."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn

from vitrine.backbones.model_locks import model_lock
from vitrine.backbones.model_parts import ModelParts, parts_of
from vitrine.backbones.random_states import random_states_kept
from vitrine.backbones.written_state import changes_mode_itself, is_known_not_to_write, written_state_restored

_held = threading.local()
"""The model that this thread has guarded for many passes, and its CUDA devices."""


@contextmanager
def eval_guard(model: nn.Module, *, freeze: bool = True, every_generator: bool = False) -> Iterator[None]:
    """Within it the model is in eval mode, and this thread's alone; afterwards it is as it was, and so are random numbers.

    On leaving, also after an exception, every submodule's ``training`` flag, every parameter's ``grad`` and
    ``requires_grad``, every parameter's and buffer's values, and the random state of the CPU and of the model's CUDA devices
    are those from before. Other threads that guard the same model, or parts of it, wait meanwhile.

    Args:
        model: the network to look into.
        freeze: whether parameters are constants within. Without it they keep their ``requires_grad`` and start without a
            gradient, and a gradient that they get within is dropped.
        every_generator: also keeps the random state of Python's ``random``, of NumPy and of all CUDA devices, for code
            that reads data within.

    Raises:
        ValueError: for a network with a parameter that has no values yet, and one that begins to change itself.
    """
    if freeze and not every_generator and getattr(_held, "model", None) is model:
        with random_states_kept(_held.devices):
            yield
        return
    with model_lock(model):
        parts = parts_of(model)
        with (
            random_states_kept(_cuda_devices(parts, every=every_generator), every=every_generator),
            written_state_restored(model, parts, attributes=freeze),
            _modes(model, parts),
            _parameters(parts, freeze=freeze),
        ):
            yield


@contextmanager
def guarded_once(model: nn.Module) -> Iterator[None]:
    """Within it, guards of the same model by this thread cost next to nothing: the model is looked at once, at the end.

    A guard compares all buffers with copies after each pass, and on a GPU waits for it. A model of which no earlier pass was
    seen, or one that was seen to write, is guarded at each pass all the same.

    Args:
        model: the network of many passes.

    Raises:
        ValueError: where it has written to its state within, which is put back, and had not done so before.
    """
    if not is_known_not_to_write(model) or getattr(_held, "model", None) is not None:
        yield
        return
    with eval_guard(model):
        _held.model, _held.devices = model, _cuda_devices(parts_of(model), every=False)
        try:
            yield
        finally:
            _held.model = None
    if not is_known_not_to_write(model):
        raise ValueError(
            f"The {type(model).__name__} wrote to its buffers in one of many passes, and had not done so before, so that what"
            " it gave may depend on their order; make it compute the same in eval mode at every call."
        )


def _cuda_devices(parts: ModelParts, *, every: bool) -> list[int]:
    tensors = [*parts.parameters, *parts.buffers]
    return sorted(range(torch.cuda.device_count()) if every else {t.get_device() for t in tensors if t.is_cuda})


@contextmanager
def _modes(model: nn.Module, parts: ModelParts) -> Iterator[None]:
    # A frozen ScriptModule has no mode any more.
    modes = [(module, module.training) for module in parts.modules if hasattr(module, "training")]
    if any(training for _, training in modes):
        model.eval()
    try:
        yield
    finally:
        # Only what differs is set: on a small network, setting everything took as long as its forward pass.
        changed = [(module, training) for module, training in modes if module.training != training]
        _run_all(partial(_set_mode, module, training=training) for module, training in changed)


def _set_mode(module: nn.Module, *, training: bool) -> None:
    if module.training == training:
        return
    if changes_mode_itself(module):
        module.train(training)
    else:
        module.training = training


@contextmanager
def _parameters(parts: ModelParts, *, freeze: bool) -> Iterator[None]:
    before = [(parameter, parameter.requires_grad, parameter.grad) for parameter in parts.parameters]
    try:
        # A backward pass within then has no gradient to accumulate: one that was there before is not added to.
        for parameter, requires_grad, grad in before:
            if freeze and requires_grad:
                parameter.requires_grad_(False)  # noqa: FBT003 - its only argument
            if not freeze and grad is not None:
                parameter.grad = None
        yield
    finally:
        changed = [entry for entry in before if entry[0].requires_grad != entry[1] or entry[0].grad is not entry[2]]
        _run_all(partial(_set_gradient, *entry) for entry in changed)


def _set_gradient(parameter: nn.Parameter, requires_grad: bool, grad: torch.Tensor | None) -> None:
    if parameter.requires_grad != requires_grad:
        with torch.inference_mode(parameter.is_inference()):  # made in it, it can be set in it alone
            parameter.requires_grad_(requires_grad)
    if parameter.grad is not grad:
        parameter.grad = grad


def _run_all(steps: Iterable[Callable[[], None]]) -> None:
    """Takes every step, also after one that fails, and then raises the first error."""
    errors = []
    for step in steps:
        try:
            step()
        except Exception as error:  # noqa: BLE001 - the other steps come first
            errors.append(error)
    if errors:
        raise errors[0]
