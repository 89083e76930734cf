"""The rule of excitation backprop for `torch.nn.functional.scaled_dot_product_attention`."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vitrine.attribution.autograd.calls import Call, carries
from vitrine.attribution.autograd.interception import with_backward
from vitrine.attribution.excitation.gates import constant
from vitrine.attribution.excitation.products import Products
from vitrine.attribution.excitation.winning_probability import reciprocals

NAMES = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
DEFAULTS = (None, None, None, None, 0.0, False, None, False)


def attention(call: Call, products: Products) -> Any:
    """Passes mass to the values in proportion to A_ij v_j⁺; ``shared`` attention passes a half to queries and keys."""
    query, key, value, mask, _dropout, *rest = (
        call.argument(i, name, default) for i, (name, default) in enumerate(zip(NAMES, DEFAULTS, strict=True))
    )
    scores = Scores(query, key, mask.detach() if carries(mask) else mask, *rest)
    if products.attention == "shared":
        return _shared(call, scores, value, products)
    if not carries(value):
        return constant(call)
    kept = scores._replace(query=query.detach().clone(), key=key.detach().clone())
    return with_backward(call, AttentionBackward(kept, products.linear.activations(value)), value)


def _shared(call: Call, scores: "Scores", value: Tensor, products: Products) -> Any:
    """Mask, scale and softmax pass mass unchanged to the products of queries and keys."""
    weights = Call(Scores.weights, (scores,), {})
    joined = weights()
    if carries(scores.query) or carries(scores.key):
        joined = products.joined(weights, scores.query, scores.repeated(scores.key), _product_of_rows)
    return products.joined(call, joined, scores.repeated(value), torch.matmul)


def _product_of_rows(queries: Tensor, keys: Tensor) -> Tensor:
    return queries @ keys.mT


class Scores(NamedTuple):
    """The arguments that attention weights are computed from."""

    query: Tensor
    """(…, H, L, E)."""
    key: Tensor
    """(…, G, S, E), of G = H heads, or fewer with ``enable_gqa``."""
    attn_mask: Tensor | None
    """Broadcasts to (…, H, L, S): where to look, or what is added to the logits."""
    is_causal: bool
    scale: float | None
    enable_gqa: bool

    def weights(self) -> Tensor:
        """(…, H, L, S) attention weights; a query that may look nowhere has none."""
        scale = 1 / math.sqrt(self.query.shape[-1]) if self.scale is None else self.scale
        logits, mask = (self.query * scale) @ self.repeated(self.key).mT, self._mask()
        if mask is None:
            return logits.softmax(dim=-1)
        return (logits + mask).softmax(dim=-1).nan_to_num_(nan=0)

    def repeated(self, x: Tensor) -> Tensor:
        """Keys or values, repeated to as many heads as the queries have."""
        return x.repeat_interleave(self.query.shape[-3] // x.shape[-3], dim=-3) if self.enable_gqa else x

    def _mask(self) -> Tensor | None:
        """What is added to the logits."""
        mask, query = self.attn_mask, self.query
        if self.is_causal:
            mask = torch.ones(query.shape[-2], self.key.shape[-2], dtype=torch.bool, device=query.device).tril()
        if mask is None or mask.dtype != torch.bool:
            return mask
        return torch.zeros(mask.shape, device=mask.device, dtype=query.dtype).masked_fill_(~mask, -math.inf)


class AttentionBackward:
    """The backward pass of attention to its values: P(v_j) = Σ_i A_ij v_j⁺ / (Σ_k A_ik v_k⁺) · P(z_i).

    The weights A are computed again in each pass, and only queries and keys are kept: A would take the most memory of all.

    Args:
        scores: without a graph.
        activations: of the values, see `vitrine.attribution.excitation.linear_rules.LinearRules.activations`.
    """

    by_gate = True
    """As of `vitrine.attribution.excitation.winning_probability.LinearBackward`."""

    def __init__(self, scores: Scores, activations: Sequence[Tensor]) -> None:
        self.scores = scores
        self.values = activations[0]  # none of A is negative
        self.scales: Tensor | None = None

    def __call__(self, mass: Tensor) -> tuple[Tensor]:
        """The mass at the values from the mass at the output."""
        weights, values = self.scores.weights(), self.scores.repeated(self.values)
        if self.scales is None:
            self.scales = reciprocals(weights @ values)
        mass = values * (weights.mT @ (mass * self.scales))
        if self.scores.enable_gqa:  # the heads that read one value
            mass = mass.view(*mass.shape[:-3], self.values.shape[-3], -1, *mass.shape[-2:]).sum(dim=-3)
        return (mass.sum_to_size(self.values.shape),)
