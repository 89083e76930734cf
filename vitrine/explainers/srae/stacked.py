"""SRAE heads of equal shapes side by side: one batched product a layer for all heads, on their own parameters."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from typing_extensions import override

from vitrine.explainers.srae.heads import OutputOfHeads, SRAEHead

MOST_WEIGHTS = 2**19
"""Of a head that a CPU is faster with among others than alone: larger products fill it one by one, and stay in its cache."""


def stacks(heads: Sequence[SRAEHead]) -> bool:
    """Whether heads are worked on side by side, which is faster where products are small or an accelerator is fed.

    Heads of one stack have equal shapes.
    """
    if len(heads) < 2:
        return False
    weights = sum(parameter.numel() for parameter in heads[0].parameters())
    return heads[0].alive.device.type != "cpu" or weights <= MOST_WEIGHTS


class StackedHeads:
    """J heads of equal shapes, evaluated together.

    The heads keep parameters of their own, for optimizers and checkpoints; their values are laid into one block of memory
    each, so that stacking them copies nothing.

    Args:
        heads: of equal shapes.
    """

    def __init__(self, heads: Sequence[SRAEHead]) -> None:
        self.heads = list(heads)
        self._encoder = _layers(self.heads, "encoder")
        self._decoder = _layers(self.heads, "decoder")
        self._predictors = [head.predictor.weight for head in self.heads]

    def __call__(self, features: Tensor) -> OutputOfHeads:
        """What each head makes of the same Z (B, P·d); ``decoded`` is (J, B·P, d)."""
        rows = self.heads[0].rows_of(features)
        alive = torch.stack([head.alive for head in self.heads])
        local = _through(self._encoder, rows).relu() * alive[:, None]
        embeddings = torch.unflatten(local, 1, (len(features), -1)).mean(dim=2) if len(rows) > len(features) else local
        estimates = (embeddings * side_by_side(self._predictors)).sum(dim=2)
        decoded = _through(self._decoder, local) if self._decoder else None
        return OutputOfHeads(embeddings.transpose(0, 1), decoded, estimates.T, local.transpose(0, 1))

    def predictors(self) -> Tensor:
        """(J, n) v of all heads, detached."""
        return side_by_side(self._predictors).detach().squeeze(1)


Layer = tuple[Sequence[Tensor], Sequence[Tensor]]
"""Weights (out, in) and biases (out,) of one layer of all heads."""


def _layers(heads: Sequence[SRAEHead], part: str) -> list[Layer]:
    parts = [getattr(head, part) for head in heads]
    if parts[0] is None:
        return []
    of_heads = [[layer for layer in part if isinstance(layer, nn.Linear)] for part in parts]
    return [([one.weight for one in same], [one.bias for one in same]) for same in zip(*of_heads, strict=True)]


def _through(layers: Sequence[Layer], inputs: Tensor) -> Tensor:
    """(J, N, out) of linear layers with a ReLU between any two, from (N, in) for all heads or (J, N, in)."""
    for number, (weights, biases) in enumerate(layers):
        weight, bias = side_by_side(weights), side_by_side(biases)
        inputs = inputs.relu() if number else inputs
        if inputs.ndim == 2:  # all heads read the same: one wide product
            outputs = linear(inputs, weight.flatten(0, 1), bias.flatten())
            inputs = torch.unflatten(outputs, 1, bias.shape).transpose(0, 1)
        else:
            inputs = torch.baddbmm(bias[:, None], inputs, weight.mT)
    return inputs


def side_by_side(parameters: Sequence[Tensor]) -> Tensor:
    """(J, …) of J parameters of one shape, without a copy; gradients reach each of them.

    Their values are moved into one block of memory where they do not lie in one, as after a change of device.
    """
    first = parameters[0]
    step, block_at = first.numel() * first.element_size(), first.untyped_storage().data_ptr()
    if any(
        one.data_ptr() != first.data_ptr() + row * step or one.untyped_storage().data_ptr() != block_at
        for row, one in enumerate(parameters)
    ):  # tensors with memory of their own may lie end to end too
        block = torch.stack([one.detach() for one in parameters])
        for one, values in zip(parameters, block, strict=True):
            one.data = values
    stacked: Tensor = _Stack.apply(*parameters)
    return stacked


class _Stack(torch.autograd.Function):
    """The block of memory in which parameters lie side by side, as one tensor."""

    @staticmethod
    @override
    def forward(ctx: object, *parameters: Tensor) -> Tensor:
        first = parameters[0].detach()
        return first.as_strided((len(parameters), *first.shape), (first.numel(), *first.stride()))

    @staticmethod
    @override
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, ...]:
        return gradient.contiguous().unbind(0)
