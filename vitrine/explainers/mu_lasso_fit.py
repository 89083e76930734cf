"""Fits the weights of a μ-Lasso explainer to their optimum, from one pass over the data."""

import torch
import torch.nn.functional as F
from torch import Tensor, distributed

from vitrine.distributed import world_size
from vitrine.explainers.mu_lasso import MuLassoExplainer
from vitrine.responses import ResponseScaling
from vitrine.solvers import MuLassoSolution, MuLassoSums, solve_mu_lasso, solve_mu_lasso_rows
from vitrine.solvers.lasso_paths import Advance


class MuLassoFit:
    """Takes in every training sample once, and solves equation 1 for all classes.

    Of N samples and m filters the sums X Xᵀ and X Lᵀ are kept where they take less memory (8 m² bytes) than the responses
    themselves (4 N m bytes), which are kept otherwise.

    Args:
        explainer: gets the scaling, the weights and the intercept.
        samples: N, of all ranks together; a guess does no harm.
    """

    def __init__(self, explainer: MuLassoExplainer, samples: int) -> None:
        self.explainer = explainer
        filters = explainer.responses.num_filters
        self.sums = MuLassoSums(filters, explainer.num_classes) if 2 * filters <= samples else None
        self.rows: list[tuple[Tensor, Tensor]] = []

    def update(self, responses: Tensor, labels: Tensor) -> None:
        """Takes in a batch.

        Args:
            responses: (B, m) x, not scaled.
            labels: (B,) class indices, or (B, C) multi-hot.
        """
        hot = label_matrix(labels, self.explainer.num_classes)
        if self.sums is not None:
            self.sums.update(responses, hot)
        else:
            self.rows.append((responses.cpu().float(), hot.cpu()))

    @torch.no_grad()
    def finish(self, mu: float | None = None, tol: float = 1e-6, advance: Advance = lambda: None) -> MuLassoSolution:
        """Solves the problem over the samples of all ranks and sets what the explainer holds.

        Args:
            mu: μ; the explainer's own without it.
            tol: largest duality gap, as a share of the objective.
            advance: called after each class.

        Returns:
            The solution, whose kept paths give that of any other μ.

        Raises:
            ValueError: where no sample was taken in, or one has NaN in it.
        """
        solution = (self._from_sums if self.sums is not None else self._from_rows)(mu or self.explainer.mu, tol, advance)
        self.use(solution)
        return solution

    @torch.no_grad()
    def use(self, solution: MuLassoSolution) -> None:
        """Takes over the weights of a solution."""
        self.explainer.weights.copy_(solution.weights)

    def _from_sums(self, mu: float, tol: float, advance: Advance) -> MuLassoSolution:
        sums = (self.sums or MuLassoSums(0, 0)).over_ranks()
        if not sums.count:
            raise ValueError("There are no training samples to fit the filters' weights on.")
        scaling = self._fit_scaling(sums.count, sums.total, sums.gram.diagonal(), sums.label_total)
        scaled = sums.scaled(scaling.shift.cpu(), scaling.factor.cpu(), centre=scaling.has_intercept)
        return solve_mu_lasso(scaled.gram, scaled.cross, scaled.label_sq, mu, tol, advance=advance)

    def _from_rows(self, mu: float, tol: float, advance: Advance) -> MuLassoSolution:
        rows = _of_all_ranks(self.rows)
        if not rows:
            raise ValueError("There are no training samples to fit the filters' weights on.")
        x, labels = (torch.cat(column).double() for column in zip(*rows, strict=True))
        scaling = self._fit_scaling(len(x), x.sum(dim=0), x.square().sum(dim=0), labels.sum(dim=0))
        x.sub_(scaling.shift.cpu().double()).mul_(scaling.factor.cpu().double())
        return solve_mu_lasso_rows(x, labels - self.explainer.intercept.cpu().double(), mu, tol, advance=advance)

    def _fit_scaling(self, count: int, total: Tensor, squares: Tensor, label_total: Tensor) -> ResponseScaling:
        scaling = self.explainer.scaling
        scaling.fit(count, total, squares, self.explainer.responses.widths())
        if scaling.has_intercept:
            self.explainer.intercept.copy_(label_total / count)
        return scaling


def label_matrix(labels: Tensor, num_classes: int) -> Tensor:
    """(B, C) float labels from (B,) class indices or (B, C) multi-hot.

    Raises:
        ValueError: where the labels are of more classes than the backbone has logits.
    """
    if labels.ndim == 2 and labels.shape[1] == num_classes:
        return labels.float()
    if labels.ndim == 2 or int(labels.max()) >= num_classes:
        count = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
        raise ValueError(
            f"The data set has labels of {count} classes, but the backbone has {num_classes} logits; give a backbone that"
            " was trained on this data set."
        )
    return F.one_hot(labels, num_classes).float()


def _of_all_ranks(rows: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    if world_size() == 1:
        return rows
    gathered: list[list[tuple[Tensor, Tensor]]] = [[] for _ in range(world_size())]
    distributed.all_gather_object(gathered, rows)
    return [batch for of_rank in gathered for batch in of_rank]
