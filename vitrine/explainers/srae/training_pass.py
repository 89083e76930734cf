"""Training pass of SRAE heads: terms of equation 5, contributions and estimates of each head on one batch."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vitrine.explainers.srae.heads import SRAEHead
from vitrine.explainers.srae.objectives import Objective, Terms, head_terms, terms_of_heads
from vitrine.explainers.srae.stacked import StackedHeads, stacks


class Passed(NamedTuple):
    """What J heads made of B images."""

    terms: Terms
    """(J,) each, unsummed."""
    contributions: Tensor
    """(B, J, n) vᵢEᵢ, detached."""
    estimates: Tensor
    """(B, J) ȳ."""


class TrainingPass:
    """Passes batches through heads, side by side where that is faster and they have equal shapes, else one by one.

    Args:
        heads: with encoders of equal shapes.
        objective: which terms there are.
        q: sparsity of the reconstruction.
        pull_away_over: see `vitrine.explainers.srae.losses.pull_away`.
    """

    def __init__(
        self, heads: Sequence[SRAEHead], objective: Objective, q: float = 1.0, pull_away_over: str = "images"
    ) -> None:
        self.heads, self.objective, self.q, self.over = list(heads), objective, q, pull_away_over
        self.stacked = StackedHeads(self.heads) if stacks(self.heads) else None

    def __call__(self, features: Tensor, logits: Tensor, weights: Tensor, *, across_ranks: bool = False) -> Passed:
        """Of Z (B, D), logits ŷ (B, J) and weights of the images (B, J) for each head."""
        if self.stacked is not None:
            return self._together(self.stacked, features, logits, weights, across_ranks=across_ranks)
        return self._one_by_one(features, logits, weights, across_ranks=across_ranks)

    def _together(
        self, stacked: StackedHeads, features: Tensor, logits: Tensor, weights: Tensor, *, across_ranks: bool
    ) -> Passed:
        output = stacked(features)
        target = self.heads[0].rows_of(features)
        terms = terms_of_heads(
            self.objective,
            output,
            logits,
            target,
            weights,
            q=self.q,
            pull_away_over=self.over,
            across_ranks=across_ranks,
        )
        return Passed(terms, output.embeddings.detach() * stacked.predictors(), output.estimates)

    def _one_by_one(self, features: Tensor, logits: Tensor, weights: Tensor, *, across_ranks: bool) -> Passed:
        terms, contributions, estimates = [], [], []
        for column, head in enumerate(self.heads):
            output = head(features)
            target = None if output.decoded is None else head.rows_of(features)
            terms.append(
                head_terms(
                    self.objective,
                    output,
                    logits[:, column],
                    target,
                    weights[:, column],
                    q=self.q,
                    pull_away_over=self.over,
                    across_ranks=across_ranks,
                )
            )
            contributions.append(head.contributions(output.embedding.detach()))
            estimates.append(output.estimate)
        each = Terms(*(torch.stack(column) for column in zip(*terms, strict=True)))
        return Passed(each, torch.stack(contributions, dim=1).detach(), torch.stack(estimates, dim=1))
