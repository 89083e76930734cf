"""Eval guard: a network is in eval mode within it, and afterwards as it was before."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def eval_guard(model: nn.Module, *, freeze: bool = True, every_generator: bool = False) -> Iterator[None]:
    """Within it the model is in eval mode; afterwards it is as it was, and so are random numbers.

    On leaving, also after an exception, every submodule's ``training`` flag, every parameter's ``grad`` and
    ``requires_grad``, and the random state of the CPU and of the model's CUDA devices are those from before. Buffers need
    no copy: in eval mode nothing writes to them.

    Args:
        model: the network to look into.
        freeze: whether parameters are constants within. Without it they keep their ``requires_grad`` and start without a
            gradient, and a gradient that they get within is dropped.
        every_generator: also keeps the random state of Python's ``random``, of NumPy and of all CUDA devices, for code
            that reads data within.
    """
    with _generators(model, every=every_generator), _modes(model), _parameters(model, freeze=freeze):
        yield


@contextmanager
def _generators(model: nn.Module, *, every: bool) -> Iterator[None]:
    tensors = [*model.parameters(), *model.buffers()]
    devices = range(torch.cuda.device_count()) if every else {t.get_device() for t in tensors if t.is_cuda}
    with torch.random.fork_rng(devices=sorted(devices)):
        if not every:
            yield
            return
        state, array_state = random.getstate(), np.random.get_state()  # noqa: NPY002 - others draw from the global one
        try:
            yield
        finally:
            random.setstate(state)
            np.random.set_state(array_state)  # noqa: NPY002 - the same


@contextmanager
def _modes(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    if any(training for _, training in modes):
        model.eval()
    try:
        yield
    finally:
        # Only what differs is set: on a small network, setting everything took as long as its forward pass.
        for module, training in modes:
            if module.training != training:
                module.training = training


@contextmanager
def _parameters(model: nn.Module, *, freeze: bool) -> Iterator[None]:
    before = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    try:
        # A backward pass within then has no gradient to accumulate: one that was there before is not added to.
        for parameter, requires_grad, grad in before:
            if freeze and requires_grad:
                parameter.requires_grad_(False)  # noqa: FBT003 - its only argument
            if not freeze and grad is not None:
                parameter.grad = None
        yield
    finally:
        for parameter, requires_grad, grad in before:
            if parameter.requires_grad != requires_grad:
                parameter.requires_grad_(requires_grad)
            if parameter.grad is not grad:
                parameter.grad = grad
