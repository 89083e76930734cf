"""Attention rollout: attention matrices and the residual connection, layer by layer (Abnar and Zuidema, ACL 2020)."""

from typing import Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.attention.attention_method import AttentionMethod, Captured, Transition, propagated
from vitrine.attribution.attention.token_flow import Step
from vitrine.backbones.outputs import OutputChoice
from vitrine.core.options import Count, CountOrZero, OptionError, Share, checked

HeadFusion = Literal["mean", "max", "min"]


class AttentionRollout(AttentionMethod):
    """The row of Â_L ⋯ Â_1 that the logits read, Â = (1 − w) A + w I, with rows that sum to 1: (B, 1, H, W), for any class.

    A is the attention matrix of a layer, fused over its heads. The row is that of the class token, the mean over those of
    several (distilled networks), or the mean over the tokens that are pooled; where a pool of patches is read beside a class
    token, each has half. Attention whose output is added to nothing, as in attention pooling, has w = 0. The map does not
    depend on the class.

    Args:
        model: as in `Method`; its attention is over all tokens of one grid.
        layer: not used; no layer is drawn.
        head_fusion: how the matrices of the heads become one.
        discard_ratio: the share of each fused matrix, its lowest weights, that is set to 0, the rest of a row being scaled to
            its sum of 1.
        residual_weight: w, the share of the residual connection.
        start_layer: the first attention that counts; those before it pass relevance through the residual connection alone.
        internal_batch_size: as in `Method`.
        output: as in `Method`.

    Raises:
        ValueError: as in `Method`; of ``attribute`` also for a network without such attention, and for a channel.

    Example:
        >>> import torch
        >>> from torchvision.models import VisionTransformer
        >>> model = VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=5)
        >>> AttentionRollout(model).attribute(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 1, 32, 32])
    """

    paper = "Abnar and Zuidema 2020"

    @checked
    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        head_fusion: HeadFusion = "mean",
        discard_ratio: Share = 0.0,
        residual_weight: Share = 0.5,
        start_layer: CountOrZero = 0,
        *,
        internal_batch_size: Count | None = None,
        output: OutputChoice | None = None,
    ) -> None:
        super().__init__(model, layer, internal_batch_size=internal_batch_size, output=output)
        self.head_fusion = head_fusion
        self.discard_ratio = discard_ratio
        self.residual_weight = residual_weight
        self.start_layer = start_layer

    @override
    def token_relevances(self, captured: Captured, indices: Tensor) -> Tensor:
        with torch.no_grad():
            transitions = {
                number: self._transition(place, step, captured.by_image(number, captured.products[number].weights))
                for place, (number, step) in enumerate(sorted(captured.flow.steps.items()))
            }
            if self.start_layer >= len(transitions):
                raise OptionError(
                    "start_layer", self.start_layer, f"less than {len(transitions)}, the network's number"
                )
            like = next(iter(transitions.values())).attended
            relevance = propagated(captured.flow, transitions, captured.batch_size, like)
        return relevance[:, None].expand(-1, indices.shape[1], -1)

    def _transition(self, place: int, step: Step, weights: Tensor) -> Transition:
        """Â of an attention in two parts, from its (B, L, n, m) weights."""
        if place < self.start_layer:
            if step.queries is None:
                raise OptionError(
                    "start_layer", self.start_layer, f"{place} or less, as attention {place} is added to nothing"
                )
            return Transition(torch.zeros_like(weights[:, 0]), 1.0)
        fused = self._discarded(fuse_heads(weights, self.head_fusion).clamp(min=0))
        residual = 0.0 if step.queries is None else self.residual_weight
        sums = ((1 - residual) * fused.sum(dim=2) + residual).clamp(min=torch.finfo(fused.dtype).tiny)
        return Transition((1 - residual) * fused / sums[..., None], residual / sums)

    def _discarded(self, fused: Tensor) -> Tensor:
        count = int(self.discard_ratio * fused[:1].numel())
        if not count:
            return fused
        lowest = fused.flatten(1).argsort(dim=1, stable=True)[:, :count]
        kept = fused.flatten(1).scatter(1, lowest, 0).view_as(fused)
        return kept / kept.sum(dim=2, keepdim=True).clamp(min=torch.finfo(fused.dtype).tiny)


def fuse_heads(weights: Tensor, fusion: HeadFusion) -> Tensor:
    """(B, n, m) from the (B, L, n, m) weights of L heads."""
    if fusion == "mean":
        return weights.mean(dim=1)
    return weights.amax(dim=1) if fusion == "max" else weights.amin(dim=1)
