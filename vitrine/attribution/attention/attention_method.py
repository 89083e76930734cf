"""`AttentionMethod`, the base of methods that multiply the attention matrices of a transformer."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from vitrine.attribution.alternatives import working_method
from vitrine.attribution.attention.capture import AttentionCapture, batch_axis, by_image, is_batch_first
from vitrine.attribution.attention.products import AttentionProduct
from vitrine.attribution.attention.token_flow import NOWHERE, PATCHES, States, TokenFlow, UnfitNetworkError, token_flow
from vitrine.attribution.autograd.gradient_flow import check_gradient, differentiating
from vitrine.attribution.base import Method
from vitrine.attribution.targets import Target
from vitrine.core.image_ops import upsampled
from vitrine.core.precision import in_full, without_autocast


class Transition(NamedTuple):
    """What an attention passes from the tokens after it to those before it."""

    attended: Tensor
    """(B, n, m) to its values."""
    kept: Tensor | float
    """(B, n), or one number, to the tokens that its output is added to."""


class Captured(NamedTuple):
    """The attentions of a forward pass."""

    flow: TokenFlow
    products: dict[int, AttentionProduct]
    """By the number of the attention, of those with a step."""
    batch_size: int
    batch_first: bool
    logits: Tensor

    def by_image(self, number: int, weights: Tensor) -> Tensor:
        """(B, L, n, m) in float32 or wider from weights, or their gradient, as the network has them."""
        matrix = in_full(self.products[number].matrix(weights))
        return by_image(matrix, self.flow.steps[number].lead, self.batch_size, batch_first=self.batch_first)


class AttentionMethod(Method):
    """A row of relevance over the tokens that the logits read, taken through one attention matrix after another.

    The matrices are those with which the network multiplies its values, whoever computes them. How tokens go from one
    attention to the next, and how the logits read them, is found by running the network on one input of noise (see
    `vitrine.attribution.attention.token_flow`). The relevance of the patches is upsampled bilinearly.
    """

    explains_channels = False
    network_requirement = "attention over all tokens"

    @override
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        with self._refusals(inputs):
            flow = token_flow(self.model, inputs)
            with differentiating(self.model), AttentionCapture() as capture:
                pixels = inputs.detach().requires_grad_()
                logits = self.explained_output(pixels.clone(), target)  # a leaf may not be changed in place
                check_gradient(logits, pixels, self.model)
            captured = _captured(flow, capture, logits)
            with without_autocast(inputs):
                relevances = self.token_relevances(captured, target.resolve(logits))
        coarse = relevances[..., flow.grid.tokens]
        return upsampled(coarse, inputs)[:, :, None]

    @abstractmethod
    def token_relevances(self, captured: Captured, indices: Tensor) -> Tensor:
        """(B, K, N) relevance of the first values for (B, K) classes, detached."""

    @contextmanager
    def _refusals(self, inputs: Tensor) -> Iterator[None]:
        try:
            yield
        except UnfitNetworkError as error:
            raise ValueError(
                f"{type(self).__name__} needs attention over all tokens, and {type(self.model).__name__} is not built so:"
                f" {error}; use {working_method(self.model, inputs)}."
            ) from None


def _captured(flow: TokenFlow, capture: AttentionCapture, logits: Tensor) -> Captured:
    if len(capture.products) != flow.num_products:
        raise UnfitNetworkError("it has another number of attentions for these images than for noise")
    products = {number: capture.products[number] for number in flow.steps}
    batch_first = True
    for number, product in products.items():
        lead = flow.steps[number].lead
        axis = batch_axis(product.matrix(product.weights), lead)
        if axis is not None and lead[axis] > 1 and len(logits):
            batch_first = is_batch_first(logits, product, axis, lead[axis])
            break
    return Captured(flow, products, len(logits), batch_first, logits)


def propagated(flow: TokenFlow, transitions: dict[int, Transition], batch_size: int, like: Tensor) -> Tensor:
    """(B, N) relevance of the first values, from the shares of the tokens that the logits read.

    Args:
        flow: of the network.
        transitions: by the number of the attention.
        batch_size: B.
        like: has the type and device of the relevance.
    """
    relevance = _Relevance(flow, batch_size, like)
    relevance.add(flow.readout, flow.weights.to(like).expand(batch_size, -1))
    for number in sorted(flow.steps, reverse=True):
        step, row = flow.steps[number], relevance.of[number]
        attended, kept = transitions[number]
        relevance.add(step.values, torch.einsum("bn,bnm->bm", row, attended))
        if step.queries is not None:
            relevance.add(step.queries, row * kept)
    return relevance.of[PATCHES]


class _Relevance:
    def __init__(self, flow: TokenFlow, batch_size: int, like: Tensor) -> None:
        first = flow.steps[min(flow.steps)]
        counts = {PATCHES: len(first.values.row)} | {number: step.num_rows for number, step in flow.steps.items()}
        self.of = {number: like.new_zeros(batch_size, count) for number, count in counts.items()}

    def add(self, states: States, values: Tensor) -> None:
        for number in sorted(set(states.attention.tolist()) - {NOWHERE}):
            mine = states.attention == number
            self.of[number].index_add_(1, states.row[mine], values[:, mine])
