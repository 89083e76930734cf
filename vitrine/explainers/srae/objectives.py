"""Objectives of SRAE: the terms of equation 5 (Qi, Khorram and Li 2018), those of its baselines, and training options."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from vitrine.core.options import Count, CountOrZero, NonNegative, OptionError, Options, Positive
from vitrine.explainers.srae.heads import HeadOutput, OutputOfHeads
from vitrine.explainers.srae.losses import faithfulness, plain_reconstruction, pull_away, sparse_reconstruction

PositiveWeight = Positive | Literal["balanced"]
"""Weight of a class's own images; ``balanced`` for as much as all others together."""


@dataclass(frozen=True)
class Objective:
    """Which terms of equation 5 (Qi, Khorram and Li 2018) stand in a loss.

    Args:
        faithful: whether ȳ is to be the logit ŷ.
        reconstruction: ``sparse`` (equation 4), ``plain`` (the mean squared error of all dimensions), or ``none``.
        orthogonal: whether there is a pull-away term.
    """

    faithful: bool
    reconstruction: str
    orthogonal: bool

    @property
    def has_decoder(self) -> bool:
        """Whether heads need one."""
        return self.reconstruction != "none"

    def reconstruction_error(
        self, decoded: Tensor, target: Tensor, q: float, weights: Tensor | None, *, across_ranks: bool
    ) -> Tensor:
        """The reconstruction's term: () of (N, d) decoded and given Z, (J,) of J heads' (J, N, d) with weights (N, J)."""
        if self.reconstruction == "sparse":
            return sparse_reconstruction(decoded, target, q, weights=weights, across_ranks=across_ranks)
        return plain_reconstruction(decoded, target, weights=weights, across_ranks=across_ranks)


OBJECTIVES = {
    "srae": Objective(faithful=True, reconstruction="sparse", orthogonal=True),
    "nn": Objective(faithful=True, reconstruction="none", orthogonal=False),
    "sae": Objective(faithful=True, reconstruction="plain", orthogonal=False),
    "cae": Objective(faithful=False, reconstruction="plain", orthogonal=False),
}
"""The paper's method and the networks of section 4.2 that it is compared with: a fully-connected network, a stacked
autoencoder with faithfulness, and a classic autoencoder whose predictor is fitted afterwards."""


@dataclass(frozen=True)
class SRAETraining(Options):
    """How SRAE heads are trained: the objective, the weights of equation 5, and the order of the fit.

    Args:
        objective: ``srae``, or what it is compared with: ``nn`` (faithfulness alone), ``sae`` (faithfulness and plain
            reconstruction), ``cae`` (plain reconstruction alone, and a predictor that is fitted afterwards).
        beta: β, weight of the reconstruction.
        eta: η, weight of the pull-away term.
        q: sparsity of the reconstruction.
        pull_away_over: compare x-features over ``images`` (the paper) or images over ``features``.
        encoder_decay: λ₁, weight of the encoder's squared norm.
        decoder_decay: λ₂, weight of the decoder's.
        predictor_decay: λ₃, weight of the predictor's.
        positive_weight: weight of a class's own images in the means of its head, ``balanced`` for as much as all others
            together.
        pretraining_epochs: epochs for each layer of the autoencoder, from Z on, before all are trained together; they are the
            first of ``max_epochs``.
        classes_at_once: heads that each rank fits at once, group after group, each for ``max_epochs``: a bound on memory.
            Classes are dealt out to the ranks, and each rank's heads see the whole global batch. All at once without it.
        seed: of the heads' first weights; drawn as the run's seed has it without.

    Raises:
        ValueError: for a number out of range, and pretraining without a decoder.

    Example:
        >>> SRAETraining(beta=1.0).decays
        {'encoder': 1e-05, 'decoder': 1e-05, 'predictor': 1e-05}
        >>> SRAETraining(objective="nn").terms.has_decoder
        False
    """

    objective: Literal["srae", "nn", "sae", "cae"] = "srae"
    beta: NonNegative = 5.0
    eta: NonNegative = 0.5
    q: Positive = 1.0
    pull_away_over: Literal["images", "features"] = "images"
    encoder_decay: NonNegative = 1e-5
    decoder_decay: NonNegative = 1e-5
    predictor_decay: NonNegative = 1e-5
    positive_weight: PositiveWeight = "balanced"
    pretraining_epochs: CountOrZero = 0
    classes_at_once: Count | None = None
    seed: CountOrZero | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pretraining_epochs and not self.terms.has_decoder:
            remedy = f"0, as it trains autoencoders and objective {self.objective} has none"
            raise OptionError("pretraining_epochs", self.pretraining_epochs, remedy)

    @property
    def decays(self) -> dict[str, float]:
        """λ₁, λ₂, λ₃ by the part of a head: encoder, decoder, predictor."""
        return {"encoder": self.encoder_decay, "decoder": self.decoder_decay, "predictor": self.predictor_decay}

    @property
    def terms(self) -> Objective:
        """Which terms of equation 5 there are."""
        return OBJECTIVES[self.objective]


class Terms(NamedTuple):
    """The terms of equation 5: () of one head or summed over several, (J,) of each; those that an objective lacks are 0."""

    faithfulness: Tensor
    reconstruction: Tensor
    pull_away: Tensor

    def total(self, beta: float, eta: float) -> Tensor:
        """Equation 5 without the norms of the weights."""
        return self.faithfulness + beta * self.reconstruction + eta * self.pull_away

    def summed(self) -> "Terms":
        """Of (J,) terms, those summed over heads."""
        return Terms(*(term.sum() for term in self))


def head_terms(
    objective: Objective,
    output: HeadOutput,
    logit: Tensor,
    target: Tensor | None,
    weights: Tensor,
    *,
    q: float = 1.0,
    pull_away_over: str = "images",
    across_ranks: bool = False,
) -> Terms:
    """The terms of one head on B images with P positions each; P is 1 unless Z keeps positions apart.

    Args:
        objective: which terms there are.
        output: of the head; its mean over ranks and images is taken in float32, in whatever precision it was computed.
        logit: (B,) ŷ.
        target: (B·P, d) Z, which is to be rebuilt; None where there is no decoder.
        weights: (B,) weights of the images; one of weight 0 takes part in nothing.
        q: sparsity of the reconstruction.
        pull_away_over: see `vitrine.explainers.srae.losses.pull_away`.
        across_ranks: whether the images of all ranks are meant.
    """
    positions = len(output.local) // max(len(weights), 1) or 1
    local_weights = weights if positions == 1 else weights.repeat_interleave(positions)
    faithful = reconstruction = orthogonal = weights.new_zeros(())
    if objective.faithful:
        faithful = faithfulness(output.estimate.float(), logit, weights=weights, across_ranks=across_ranks)
    if output.decoded is not None and target is not None:
        reconstruction = objective.reconstruction_error(
            output.decoded.float(), target, q, local_weights, across_ranks=across_ranks
        )
    if objective.orthogonal:
        local = _rows_taking_part(output.local.float(), local_weights > 0, pull_away_over)
        orthogonal = pull_away(local, over=pull_away_over, across_ranks=across_ranks)
    return Terms(faithful, reconstruction, orthogonal)


def terms_of_heads(
    objective: Objective,
    output: OutputOfHeads,
    logits: Tensor,
    target: Tensor | None,
    weights: Tensor,
    *,
    q: float = 1.0,
    pull_away_over: str = "images",
    across_ranks: bool = False,
) -> Terms:
    """The terms of J heads, (J,) each: those of `head_terms`, without a loop.

    The reconstruction is that of heads with a decoder each, and 0 where a shared trunk has one for all.

    Args:
        objective: which terms there are.
        output: of the heads.
        logits: (B, J) ŷ.
        target: (B·P, d) Z, which is to be rebuilt; None where there is no decoder.
        weights: (B, J) weights of the images for each head.
        q: sparsity of the reconstruction.
        pull_away_over: see `vitrine.explainers.srae.losses.pull_away`.
        across_ranks: whether the images of all ranks are meant.
    """
    faithful = reconstruction = orthogonal = weights.new_zeros(weights.shape[1])
    taking_part = weights.repeat_interleave(len(output.local) // max(len(weights), 1) or 1, dim=0)
    if objective.faithful:
        faithful = faithfulness(output.estimates.float(), logits, weights=weights, across_ranks=across_ranks)
    if output.decoded is not None and output.decoded.ndim == 3 and target is not None:
        reconstruction = objective.reconstruction_error(
            output.decoded.float(), target, q, taking_part, across_ranks=across_ranks
        )
    if objective.orthogonal:
        orthogonal = _pull_away_of_heads(output.local.float(), taking_part > 0, pull_away_over, across_ranks)
    return Terms(faithful, reconstruction, orthogonal)


def _pull_away_of_heads(local: Tensor, taking_part: Tensor, over: str, across_ranks: bool) -> Tensor:
    """(J,) of (B·P, J, n) x-features and (B·P, J) whether they take part."""
    if over == "images":
        return pull_away((local * taking_part.unsqueeze(2)).transpose(0, 1), across_ranks=across_ranks)
    pairs = zip(local.unbind(dim=1), taking_part.T, strict=True)
    chosen = [_rows_taking_part(one, rows, over) for one, rows in pairs]
    return torch.stack([pull_away(one, over=over, across_ranks=across_ranks) for one in chosen])


def _rows_taking_part(local: Tensor, taking_part: Tensor, over: str) -> Tensor:
    """The rows that take part; where columns are compared, rows of zeros replace the others, which needs no sync."""
    return local * taking_part.unsqueeze(1) if over == "images" else local[taking_part]
