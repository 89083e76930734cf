"""A guard that keeps a model as it was while it is looked into."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def eval_guard(model: nn.Module) -> Iterator[None]:
    """Within it the model is in eval mode and its parameters are constants; afterwards it is as it was.

    On leaving, also after an exception, every submodule's ``training`` flag, every parameter's ``grad`` and
    ``requires_grad``, and the random state of the CPU and of the model's CUDA devices are those from before. Buffers need
    no copy: in eval mode nothing writes to them.

    Args:
        model: the network to look into.
    """
    modes = [(module, module.training) for module in model.modules()]
    parameters = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    tensors = [*(parameter for parameter, _, _ in parameters), *model.buffers()]
    with torch.random.fork_rng(devices=sorted({tensor.get_device() for tensor in tensors if tensor.is_cuda})):
        try:
            if any(training for _, training in modes):
                model.eval()
            _freeze(parameter for parameter, asked, _ in parameters if asked)
            yield
        finally:
            # Only what differs is set: on a small network, setting everything took as long as its forward pass.
            for module, training in modes:
                if module.training != training:
                    module.training = training
            for parameter, requires_grad, grad in parameters:
                if parameter.requires_grad != requires_grad:
                    parameter.requires_grad_(requires_grad)
                if parameter.grad is not grad:
                    parameter.grad = grad


def _freeze(parameters: Iterable[nn.Parameter]) -> None:
    # A backward pass within then has no gradient to accumulate: one that was there before is not added to.
    for parameter in parameters:
        parameter.requires_grad_(False)  # noqa: FBT003 - its only argument
