"""Proximal Newton steps of the μ-Lasso on a stream: one pass a step, on a working set of filters, with a duality gap."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vitrine.core.distributed import global_rank, sum_over_ranks
from vitrine.solvers.certificate import certificates
from vitrine.solvers.least_squares import Fit, as_float64
from vitrine.solvers.mu_lasso import solve_mu_lasso

_SUMS = ("correlations", "objective", "cross", "squares", "label_sq", "gram", "count")
_STATE = ("anchor", "columns", "reference", "gradient")
_NEW_COLUMNS = 100
"""Filters of highest correlation, and of largest weight in the first-order steps, that each class proposes."""
_SHARE_OF_TOLERANCE = 0.01
_TIE = 1e-9
_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class StreamedSolution:
    """Weights of C classes after a pass over the stream.

    Attributes:
        weights: (m, C) float64, on the device of the sums.
        relative_gap: (C,) float64: no weights within the bound have an objective that is lower by more than this share of
            it; infinite where the pass says nothing about these weights.
        converged: (C,) bool: the gap is at most the tolerance, and no filter without a weight has a correlation above that
            of those with one.
    """

    weights: Tensor
    relative_gap: Tensor
    converged: Tensor


class StreamedMuLasso:
    """Minimises ‖Xᵀw − l‖² subject to ‖w‖₁ ≤ μ for C classes from passes over a stream of samples.

    A pass sums, for the weights at which it began (the anchor), the exact gradient over all m filters and, on a working set
    of k of them, the Hessian. The step at its end minimises the quadratic on the working set exactly, in the ℓ1 ball: a
    proximal Newton step, which leaves exact zeros. The next working set is made of the filters that have a weight, those of
    highest correlation with the residual, and those that first-order steps between two passes give the largest weights. The
    objective does not increase where that step is taken, and the duality gap over all filters certifies the result. Memory
    is O(mC + k²).

    The gradient is also what variance-reduced mini-batch steps need: with `reference` R, the known anchor, and its `gradient`
    G, the loss ‖X_Bᵀ(W − R)‖² / B + ⟨W, G⟩ has the exact gradient at R, whatever the batch is.

    Args:
        num_filters: m.
        num_classes: C.
        mu: μ.
        working_set: most filters in the working set; 0 for first-order steps alone.
        start: (m, C) weights to begin with; 0 without it.
        device: of the sums, which are float64.

    Example:
        >>> x, labels = torch.randn(200, 50), torch.randn(200, 3)
        >>> streamed = StreamedMuLasso(num_filters=50, num_classes=3, mu=0.2)
        >>> for _ in range(4):
        ...     for batch in range(0, 200, 25):
        ...         streamed.update(x[batch : batch + 25], labels[batch : batch + 25])
        ...     solution = streamed.step(streamed.anchor, tol=1e-9)
        >>> bool(solution.converged.all()), bool((solution.weights.abs().sum(dim=0) <= 0.2 + 1e-12).all())
        (True, True)
    """

    reference: Tensor
    """(m, C) anchor of the last pass."""
    gradient: Tensor
    """(m, C) gradient of the mean squared error over that pass, at `reference`."""

    def __init__(
        self,
        num_filters: int,
        num_classes: int,
        mu: float,
        working_set: int = 4096,
        start: Tensor | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.mu = mu
        self.working_set = working_set
        self.anchor = torch.zeros(num_filters, num_classes, dtype=torch.float64, device=device)
        if start is not None:
            self.anchor.copy_(start.detach())
        self.columns = torch.zeros(0, dtype=torch.int64, device=device)
        if self.anchor.any():
            self.columns = self._working_set(self.anchor)
        self.reference, self.gradient = self.anchor.new_zeros(0, num_classes), self.anchor.new_zeros(0, num_classes)
        self._forget()

    @property
    def has_gradient(self) -> bool:
        """Whether a pass has ended, so that there are `reference` and `gradient`."""
        return len(self.reference) > 0

    @torch.no_grad()
    def scores(self, x: Tensor) -> Tensor:
        """(B, C) XᵀR of (B, m) scaled responses, at `reference`."""
        used = self.reference.any(dim=1).nonzero()[:, 0]
        return x.to(self.reference)[:, used] @ self.reference[used]

    @torch.no_grad()
    def update(self, x: Tensor, labels: Tensor) -> None:
        """Adds a batch of a pass.

        Args:
            x: (B, m) scaled responses.
            labels: (B, C), centred where the model has an intercept.
        """
        x, labels = x.to(self.anchor), labels.to(self.anchor)
        used = self.anchor.any(dim=1).nonzero()[:, 0]
        residual = labels - x[:, used] @ self.anchor[used]
        self.correlations.addmm_(x.T, residual)
        self.cross.addmm_(x.T, labels)
        self.objective += residual.square().sum(dim=0)
        self.label_sq += labels.square().sum(dim=0)
        self.squares += x.square().sum(dim=0)
        chosen = x[:, self.columns]
        self.gram.addmm_(chosen.T, chosen)
        self.count += len(x)

    @torch.no_grad()
    def step(self, weights: Tensor, tol: float = 1e-6) -> StreamedSolution:
        """Ends a pass: certifies the anchor, and takes the step; a collective.

        Args:
            weights: (m, C) of first-order steps since the pass began, within the ball; the anchor where there were none.
            tol: largest duality gap, as a share of the objective.

        Returns:
            The solution, whose weights are the next pass's anchor: the old one where it has converged, the minimum on the
            working set where that is lower, and ``weights`` elsewhere.
        """
        for name in _SUMS:
            setattr(self, name, sum_over_ranks(getattr(self, name)))
        gap, converged = self._certified(tol)
        taken, bound = weights.to(self.anchor), torch.full_like(gap, torch.inf)
        if len(self.columns):
            newton, objective = self._newton_step(tol)
            lower = objective <= self.objective
            taken = torch.where(lower, newton, taken)
            decrease = self.objective - objective
            bound = torch.where(lower, _share((gap - decrease).clamp(min=0), objective), bound)
        taken = of_rank_zero(torch.where(converged, self.anchor, taken))
        bound = of_rank_zero(torch.where(converged, _share(gap, self.objective), bound))
        converged = of_rank_zero(converged.to(gap)).bool()
        chosen = torch.zeros_like(self.squares)
        chosen[self._working_set(taken, self.correlations, weights.to(self.anchor))] = 1
        columns = of_rank_zero(chosen).nonzero()[:, 0]
        self.reference, self.gradient = self.anchor, self.correlations * (-2 / self.count)
        self.anchor, self.columns = taken, columns
        self._forget()
        return StreamedSolution(taken, bound, converged)

    def state(self) -> dict[str, Tensor]:
        """Tensors by name for a checkpoint, the sums over all ranks; a collective."""
        sums = {name: sum_over_ranks(getattr(self, name)).cpu() for name in _SUMS}
        kept = {name: getattr(self, name).cpu() for name in _STATE}
        return {**sums, **kept, "mu": torch.tensor(self.mu, dtype=torch.float64)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from a checkpoint's state: rank zero has the sums of all ranks, the others none."""
        for name in _STATE:
            setattr(self, name, state[name].to(self.anchor.device))
        for name in _SUMS:
            value = state[name].to(self.anchor.device).clone()
            setattr(self, name, value if global_rank() == 0 else torch.zeros_like(value))

    def _forget(self) -> None:
        """Begins the sums of a pass."""
        m, classes = self.anchor.shape
        self.correlations, self.cross = torch.zeros_like(self.anchor), torch.zeros_like(self.anchor)
        self.objective, self.label_sq = self.anchor.new_zeros(classes), self.anchor.new_zeros(classes)
        self.squares = self.anchor.new_zeros(m)
        self.gram = self.anchor.new_zeros(len(self.columns), len(self.columns))
        self.count = self.anchor.new_zeros(())

    def _certified(self, tol: float) -> tuple[Tensor, Tensor]:
        """(C,) duality gaps of the anchor, and whether it has converged."""
        fit = Fit(as_float64(self.correlations), as_float64(self.objective))
        anchor, norms = as_float64(self.anchor), as_float64(self.squares.sqrt())
        mu = np.full(anchor.shape[1], self.mu)
        certified = certificates(fit, anchor, norms, as_float64(self.label_sq), mu)
        gap = self.anchor.new_tensor([certificate.gap for certificate in certified])
        rounding = self.anchor.new_tensor(np.stack([certificate.rounding for certificate in certified], axis=1))
        sizes, selected = self.correlations.abs(), self.anchor != 0
        level = sizes.masked_fill(~selected, 0).amax(dim=0)
        violated = (sizes.masked_fill(selected, 0) > level * (1 + _TIE) + 2 * rounding).any(dim=0)
        fits_labels = self.objective <= _EPSILON * self.label_sq
        return gap, (gap <= tol * self.objective) & ~violated | fits_labels

    def _newton_step(self, tol: float) -> tuple[Tensor, Tensor]:
        """(m, C) minimum within the ball on the working set, and its (C,) objective."""
        solution = solve_mu_lasso(
            self.gram, self.cross[self.columns], self.label_sq, self.mu, max(_SHARE_OF_TOLERANCE * tol, 1e-12)
        )
        weights = torch.zeros_like(self.anchor)
        weights[self.columns] = solution.weights.to(weights)
        return weights, solution.objective.to(weights)

    def _working_set(self, taken: Tensor, *proposals: Tensor) -> Tensor:
        """(k,) filters: those with a weight before all, then the largest of each class's proposals, in turns; not too many.

        Args:
            taken: (m, C) weights.
            proposals: (m, C) each.
        """
        m = len(taken)
        ranks = torch.arange(m, device=taken.device, dtype=taken.dtype)[:, None].expand_as(taken)
        turns = taken.new_full((m,), torch.inf)  # at which each filter comes first
        for values, count, first in [(taken.abs(), m, -m), *((values.abs(), _NEW_COLUMNS, 0) for values in proposals)]:
            largest, filters = values.topk(min(count, m), dim=0)
            turn = torch.where(largest > 0, ranks[: len(largest)] + first, torch.inf)
            turns.scatter_reduce_(0, filters.flatten(), turn.flatten(), "amin")
        in_turn = turns.argsort(stable=True)[: self.working_set]
        return in_turn[turns[in_turn].isfinite()].sort().values


def of_rank_zero(value: Tensor) -> Tensor:
    """Rank zero's tensor on all ranks, whose own may differ in the last bits; a collective."""
    return sum_over_ranks(value if global_rank() == 0 else torch.zeros_like(value))


def _share(gap: Tensor, objective: Tensor) -> Tensor:
    return torch.where(gap == 0, 0.0, gap / objective)
