"""Gradient-weighted attention relevance (Chefer, Gur and Wolf: Generic Attention-model Explainability, ICCV 2021)."""

import torch
from torch import Tensor
from typing_extensions import override

from vitrine.attribution.attention.attention_method import AttentionMethod, Captured, Transition, propagated
from vitrine.attribution.autograd.backward import one_hot
from vitrine.attribution.autograd.loss_scaling import scaled_gradients


class AttentionRelevance(AttentionMethod):
    """The row of R that the logits read, R ← R + Ā R from R = I, Ā = mean over heads of (∇A ⊙ A)⁺: (B, 1, H, W).

    ∇A is the gradient of the class's logit at the attention weights A of a layer. The row is that of `AttentionRollout`: of
    the class token, or the mean over the tokens that are pooled. Attention whose output is added to nothing, as in attention
    pooling, has R ← Ā R. One forward pass and K backward passes for K classes.

    Args:
        model: as in `Method`; its attention is over all tokens of one grid.
        layer: not used; no layer is drawn.
        internal_batch_size: as in `Method`.
        output: as in `Method`.

    Raises:
        ValueError: as in `Method`; of ``attribute`` also for a network without such attention, and for a channel.

    Example:
        >>> import torch
        >>> from torchvision.models import VisionTransformer
        >>> model = VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=5)
        >>> AttentionRelevance(model).attribute(torch.rand(2, 3, 32, 32), target=1).shape
        torch.Size([2, 1, 32, 32])
    """

    paper = "Chefer, Gur and Wolf 2021"

    @override
    def token_relevances(self, captured: Captured, indices: Tensor) -> Tensor:
        rows = [self._relevance(captured, column) for column in indices.unbind(dim=1)]
        empty = captured.logits.new_zeros(len(indices), 0, int(captured.flow.grid.tokens.max()) + 1)
        return torch.stack(rows, dim=1) if rows else empty

    def _relevance(self, captured: Captured, indices: Tensor) -> Tensor:
        """(B, N) for the (B,) indices."""
        numbers = list(captured.products)
        weights = [captured.products[number].weights for number in numbers]
        cotangent = one_hot(captured.logits.detach(), indices)
        found = scaled_gradients([captured.logits], weights, [cotangent], retain_graph=True)
        transitions = {}
        for number, weight, gradient in zip(numbers, weights, found, strict=True):
            product = captured.by_image(number, weight.detach()) * captured.by_image(number, gradient)
            transitions[number] = Transition(product.clamp(min=0).mean(dim=1), 1.0)
        like = next(iter(transitions.values())).attended
        return propagated(captured.flow, transitions, captured.batch_size, like)
