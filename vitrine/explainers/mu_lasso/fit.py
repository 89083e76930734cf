"""Fits the weights of a μ-Lasso explainer to their optimum, from one pass over the data."""

import platform
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrine.core.distributed import gather_over_ranks, sum_over_ranks, world_size
from vitrine.core.memory import free_bytes
from vitrine.core.options import CountOrZero, Options, Positive
from vitrine.explainers.mu_lasso.explainer import MuLassoExplainer
from vitrine.explainers.mu_lasso.fit_plan import FitPlan
from vitrine.filters.scaling import ResponseScaling
from vitrine.solvers import MuLassoSolution, MuLassoSums, solve_mu_lasso, solve_mu_lasso_rows
from vitrine.solvers.working_set import Advance

__all__ = [
    "MuLassoFit",
    "MuLassoSolution",
    "MuLassoTraining",
    "ScalingFit",
    "check_label_classes",
    "fit_scaling",
    "label_matrix",
]

LEARNED_SCALINGS = ("unit", "standardized")
"""Those that depend on the samples."""


@dataclass(frozen=True)
class MuLassoTraining(Options):
    """How the weights of equation 1 are fitted.

    Args:
        solver: ``exact``, all classes to a certified duality gap after one pass over the data; or ``sgd``, mini-batch steps,
            each followed by the projection onto the ℓ1 ball, with a proximal Newton step at the end of each epoch.
        tol: largest duality gap, as a share of the objective; ``sgd`` ends when an epoch certifies it.
        working_set: of ``sgd``: most filters of all classes together on which the Newton step is taken, for which
            8 · working_set² bytes are needed; 0 for mini-batch steps alone.

    Example:
        >>> MuLassoTraining(solver="sgd").tol
        1e-06
    """

    solver: Literal["exact", "sgd"] = "exact"
    tol: Positive = 1e-6
    working_set: CountOrZero = 4096


class MuLassoFit:
    """Takes in every training sample once, and solves equation 1 for all classes.

    Of N samples and m filters the sums X Xᵀ and X Lᵀ are kept where they take less memory (8 m² bytes) than the responses
    themselves (4 N m bytes), or where those do not fit; see `FitPlan`. Ranks add up their sums once, and share the classes.

    Args:
        explainer: gets the scaling, the weights and the intercept.
        samples: N, of all ranks together; a guess does no harm.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from vitrine.backbones import FrozenBackbone
        >>> from vitrine.explainers import MuLassoExplainer, MuLassoOptions
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        >>> explainer = MuLassoExplainer(FrozenBackbone(model), MuLassoOptions(mu=0.5, num_heatmaps=2, image_size=8))
        >>> fit = MuLassoFit(explainer, samples=20)
        >>> images, labels = torch.rand(20, 3, 8, 8), torch.arange(20) % 2
        >>> fit.update(explainer.responses(images)["features"], labels)
        >>> solution = fit.finish()
        >>> bool(solution.converged.all()), bool((explainer.weights.abs().sum(dim=0) <= 0.5 + 1e-6).all())
        (True, True)
    """

    def __init__(self, explainer: MuLassoExplainer, samples: int) -> None:
        self.explainer = explainer
        self.plan = plan_of(explainer, samples)
        self.sums = self._no_sums() if self.plan.keeps_sums else None
        self.rows: list[tuple[Tensor, Tensor]] = []
        self._is_summed = self._is_scaled = False

    def _no_sums(self) -> MuLassoSums:
        device = self.explainer.weights.device
        free = free_bytes(device) if device.type == "cuda" else None
        place = device if free is not None and free > 2 * self.plan.sums_bytes else "cpu"
        return MuLassoSums(self.plan.filters, self.plan.classes, place, self.plan.products)

    def update(self, responses: Tensor, labels: Tensor) -> None:
        """Takes in a batch.

        Args:
            responses: (B, m) x, not scaled.
            labels: (B,) class indices, or (B, C) multi-hot.

        Raises:
            ValueError: as of `label_matrix`, for NaN or infinity in the responses, and after `finish` where sums are kept.
        """
        if self._is_summed:
            raise ValueError("The fit is finished, and its sums are scaled; begin another one for further samples.")
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
            ValueError: where no sample was taken in, one has NaN in it, or μ or ``tol`` is not a finite number above 0.
        """
        bound = self.explainer.options.mu if mu is None else mu
        if self.sums is not None:
            solution = self._from_sums(self.sums, bound, tol, advance)
        else:
            solution = self._from_rows(_of_all_ranks(self.rows), bound, tol, advance)
        self.use(solution)
        return solution

    @torch.no_grad()
    def use(self, solution: MuLassoSolution) -> None:
        """Takes over the weights of a solution."""
        self.explainer.weights.copy_(solution.weights)

    def _from_sums(self, sums: MuLassoSums, mu: float, tol: float, advance: Advance) -> MuLassoSolution:
        if not self._is_summed:
            sums.sum_over_ranks_()
            self._is_summed = True
        if not self._is_scaled:
            scaling = fit_scaling(self.explainer, sums.n_samples, sums.total, sums.gram.diagonal(), sums.label_total)
            sums.scale_(scaling.shift, scaling.factor, centre=scaling.has_intercept)
            self._is_scaled = True
        return solve_mu_lasso(sums.gram, sums.cross, sums.label_sq, mu, tol, advance=advance, over_ranks=True)

    def _from_rows(self, rows: list[tuple[Tensor, Tensor]], mu: float, tol: float, advance: Advance) -> MuLassoSolution:
        none = torch.zeros(0, self.explainer.responses.num_filters), torch.zeros(0, self.explainer.num_classes)
        x, labels = (torch.cat(column).double() for column in zip(none, *rows, strict=True))
        scaling = fit_scaling(self.explainer, len(x), x.sum(dim=0), x.square().sum(dim=0), labels.sum(dim=0))
        x.sub_(scaling.shift.cpu().double()).mul_(scaling.factor.cpu().double())
        if scaling.has_intercept:
            labels -= labels.mean(dim=0)
        return solve_mu_lasso_rows(x, labels, mu, tol, advance=advance, over_ranks=True)


def plan_of(explainer: MuLassoExplainer, samples: int) -> FitPlan:
    """How N samples will be taken in; a collective, as ranks have to decide alike."""
    machines = gather_over_ranks(platform.node())
    ranks_here = machines.count(platform.node())
    plan = FitPlan.here(samples, explainer.responses.num_filters, explainer.num_classes, len(machines), ranks_here)
    free = [size for size in gather_over_ranks(plan.free) if size is not None]
    return replace(plan, free=min(free, default=None))


class ScalingFit:
    """Learns an explainer's scaling and intercept alone, for weights that are found in another way than by `MuLassoFit`.

    Args:
        explainer: gets the scaling and the intercept.
    """

    def __init__(self, explainer: MuLassoExplainer) -> None:
        self.explainer = explainer
        self.total = torch.zeros(explainer.responses.num_filters, dtype=torch.float64)
        self.squares = torch.zeros_like(self.total)
        self.label_total = torch.zeros(explainer.num_classes, dtype=torch.float64)
        self.count = 0

    @property
    def needs_samples(self) -> bool:
        """Whether the scaling depends on the samples."""
        return self.explainer.scaling.scaling in LEARNED_SCALINGS

    def update(self, responses: Tensor, labels: Tensor) -> None:
        """Takes in a batch, see `MuLassoFit.update`."""
        x = responses.detach().cpu().double()
        self.label_total += label_matrix(labels, self.explainer.num_classes).cpu().double().sum(dim=0)
        self.total += x.sum(dim=0)
        self.squares += x.square().sum(dim=0)
        self.count += len(x)

    def finish(self) -> None:
        """Sets scaling and intercept from the samples of all ranks.

        Raises:
            ValueError: where there are no samples, but the scaling depends on them.
        """
        device = self.explainer.weights.device if world_size() > 1 else "cpu"  # not every device has float64
        sums = (torch.tensor(self.count), self.total, self.squares, self.label_total)
        count, total, squares, label_total = (sum_over_ranks(tensor.to(device)).cpu() for tensor in sums)
        fit_scaling(self.explainer, int(count) if self.needs_samples else 1, total, squares, label_total)


@torch.no_grad()
def fit_scaling(
    explainer: MuLassoExplainer, count: int, total: Tensor, squares: Tensor, label_total: Tensor
) -> ResponseScaling:
    """Sets an explainer's scaling and intercept from sums over all samples.

    Args:
        explainer: whose they are.
        count: N.
        total: (m,) Σ x.
        squares: (m,) Σ x².
        label_total: (C,) Σ l.

    Returns:
        The scaling.

    Raises:
        ValueError: where there are no samples.
    """
    scaling = explainer.scaling
    if not count:
        raise ValueError("There are no training samples to fit the filters' weights on.")
    scaling.fit(count, total, squares, explainer.responses.widths())
    if scaling.has_intercept:
        explainer.intercept.copy_(label_total / count)
    return scaling


def label_matrix(labels: Tensor, num_classes: int) -> Tensor:
    """(B, C) float labels from (B,) class indices or (B, C) multi-hot.

    Raises:
        ValueError: where the labels are of more classes than the backbone has logits, or multi-hot of fewer.
    """
    if labels.ndim == 2:
        check_label_classes(labels.shape[1], num_classes, multi_label=True)
        return labels.float()
    check_label_classes(int(labels.max()) + 1 if len(labels) else 0, num_classes)
    return F.one_hot(labels, num_classes).float()


def check_label_classes(count: int, num_classes: int, *, multi_label: bool = False) -> None:
    """Raises ValueError where labels of ``count`` classes are not of the backbone's ``num_classes`` logits."""
    if count > num_classes or (multi_label and count < num_classes):
        raise ValueError(
            f"The data set has labels of {count} classes, but the backbone has {num_classes} logits; give a backbone that"
            " was trained on this data set."
        )


def _of_all_ranks(rows: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    return [batch for of_rank in gather_over_ranks(rows) for batch in of_rank]
