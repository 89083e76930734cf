"""μ-Lasso: min ‖Xᵀw − l‖² subject to ‖w‖₁ ≤ μ for many classes (equation 1 of Oramas et al., ICLR 2019)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vitrine.core.options import OptionError, Positive, check_value
from vitrine.solvers.class_groups import GROUP, GROUP_OF_ROWS, ClassGroups
from vitrine.solvers.gram import blocks
from vitrine.solvers.least_squares import DataLeastSquares, Floats, GramLeastSquares, as_float64
from vitrine.solvers.working_set import Advance

_ROWS_CHECKED = 1024
Mu = float | Sequence[float] | Tensor


@dataclass(frozen=True)
class MuLassoSolution:
    """Weights of C classes, each with a certified duality gap, and the solution paths.

    Attributes:
        weights: (m, C) float64, on the CPU.
        mu: (C,) bound of the ℓ1 norm of each column of ``weights``.
        objective: (C,) ‖Xᵀw − l‖².
        gap: (C,) certified duality gap: no w within the bound has an objective that is lower by more than this, rounding
            in float64 included.
        tol: largest gap at which a class has converged, as a share of its objective.

    Example:
        >>> solution = solve_mu_lasso_rows(torch.rand(50, 8), torch.rand(50, 3), mu=2.0)
        >>> solution.weights.shape, bool(solution.converged.all())
        (torch.Size([8, 3]), True)
        >>> bool((solution.at(1.0).weights.abs().sum(dim=0) <= 1 + 1e-12).all())
        True
    """

    weights: Tensor
    mu: Tensor
    objective: Tensor
    gap: Tensor
    tol: float
    paths: ClassGroups = field(repr=False, compare=False)

    @property
    def relative_gap(self) -> Tensor:
        """(C,) gap over objective; 0 where both are 0, infinite where only the objective is 0."""
        return torch.where(self.gap == 0, 0.0, self.gap / self.objective)

    @property
    def converged(self) -> Tensor:
        """(C,) bool: the gap is at most ``tol`` of the objective.

        Rounding can prevent it: for an objective that is 0, or tiny compared with ‖l‖².
        """
        return self.gap <= self.tol * self.objective

    def at(self, mu: Mu, advance: Advance = lambda: None) -> "MuLassoSolution":
        """The solution for another μ, from the stored paths.

        The solution is piecewise linear in ‖w‖₁. A smaller μ is interpolated on the stored path; for a larger one the path is
        extended from its end. Either is certified anew, by one product with the data. A collective
        where the solution was found with ``over_ranks``, as by a fit on several ranks.

        Args:
            mu: one number for all classes, or one for each class.
            advance: called after each class.

        Raises:
            OptionError: where μ is not a finite number above 0.
        """
        return _solve(self.paths, mu, self.tol, advance)


def solve_mu_lasso(
    gram: Tensor,
    cross: Tensor,
    label_sq: Tensor,
    mu: Mu,
    tol: float = 1e-6,
    *,
    advance: Advance = lambda: None,
    over_ranks: bool = False,
    folder: Path | None = None,
) -> MuLassoSolution:
    """Solves the μ-Lasso of every class from sums over the data, as accumulated by `MuLassoSums`.

    Minimises ‖Xᵀw − l‖² subject to ‖w‖₁ ≤ μ, without ½, 1/N or intercept, by the Lasso's homotopy on a working set of
    columns, with an active-set method where columns are nearly dependent. All in float64.

    Args:
        gram: (m, m) X Xᵀ.
        cross: (m, C) X l of each class.
        label_sq: (C,) ‖l‖² of each class.
        mu: bound of ‖w‖₁: one number for all classes, or one for each class.
        tol: largest duality gap, as a share of the objective.
        advance: called after each class that this process solves.
        over_ranks: whether classes are shared out over the processes, each of which gives the same sums; a collective then.
        folder: where groups of classes are written as they are solved, to go on from after an interruption.

    Returns:
        The solution. Filters that never respond have weight 0, and of linearly dependent filters as few as possible have
        other weights. Whether a class reached ``tol`` is in ``converged``.

    Raises:
        OptionError: where μ or ``tol`` is not a finite number above 0.
        ValueError: where shapes do not fit, for NaN or infinity in the sums, and for sums that cannot be of the same data.

    Example:
        >>> from vitrine.solvers import MuLassoSums
        >>> sums = MuLassoSums(num_filters=8, num_classes=3)
        >>> sums.update(torch.rand(50, 8), torch.rand(50, 3))
        >>> solution = solve_mu_lasso(sums.gram, sums.cross, sums.label_sq, mu=2.0)
        >>> solution.weights.shape, bool(solution.converged.all())
        (torch.Size([8, 3]), True)
    """
    gram, cross, label_sq = gram.detach(), cross.detach(), label_sq.detach()
    _check_sums(gram, cross, label_sq)
    problem = GramLeastSquares(gram, cross, label_sq)
    return _solve(ClassGroups(problem, GROUP, over_ranks=over_ranks, folder=folder), mu, tol, advance)


def solve_mu_lasso_rows(
    x: Tensor,
    labels: Tensor,
    mu: Mu,
    tol: float = 1e-6,
    *,
    advance: Advance = lambda: None,
    over_ranks: bool = False,
) -> MuLassoSolution:
    """`solve_mu_lasso` from the samples themselves, without the whole X Xᵀ: for more filters than samples, or very many.

    Data of more than a gibibyte in float64 is read in blocks, once in each of about ten rounds, so that it may be
    memory-mapped; products are computed on the device of ``x``.

    Args:
        x: (N, m) responses, of any floating-point type.
        labels: (N, C).
        mu: bound of ‖w‖₁: one number for all classes, or one for each class.
        tol: largest duality gap, as a share of the objective.
        advance: called after each class that this process solves.
        over_ranks: whether classes are shared out over the processes, which all give the same samples; a collective then.

    Raises:
        OptionError: where μ or ``tol`` is not a finite number above 0.
        ValueError: where shapes do not fit, and for NaN or infinity in the data.

    Example:
        >>> solve_mu_lasso_rows(torch.rand(20, 100), torch.rand(20, 3), mu=[1.0, 2.0, 0.5]).weights.shape
        torch.Size([100, 3])
    """
    if x.dim() != 2 or labels.dim() != 2 or len(x) != len(labels) or not x.numel() or not labels.numel():
        shapes = f"{tuple(x.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"x and labels are of shapes {shapes}; give (N, m) and (N, C) of the same N ≥ 1 samples.")
    _check_finite("labels", labels)
    problem = DataLeastSquares(x, labels)
    if not np.isfinite(problem.norms).all():
        filter_index = int(np.flatnonzero(~np.isfinite(problem.norms))[0])
        raise ValueError(f"x holds NaN or infinity in the responses of filter {filter_index}; give finite numbers.")
    return _solve(ClassGroups(problem, GROUP_OF_ROWS, over_ranks=over_ranks), mu, tol, advance)


def _solve(paths: ClassGroups, mu: Mu, tol: float, advance: Advance) -> MuLassoSolution:
    bounds = _bounds(mu, paths.num_classes)
    check_value("tol", tol, Positive)
    weights, objective, gap = (torch.from_numpy(array) for array in paths.solve(bounds, tol, advance))
    return MuLassoSolution(weights.contiguous(), torch.from_numpy(bounds), objective, gap, tol, paths)


def _bounds(mu: Mu, num_classes: int) -> Floats:
    """(C,) μ of each class."""
    bounds = as_float64(torch.as_tensor(mu, dtype=torch.float64))
    if bounds.shape not in {(), (num_classes,)}:
        raise ValueError(
            f"mu is of shape {bounds.shape}; give one number, or one for each of the {num_classes} classes."
        )
    if not (np.isfinite(bounds) & (bounds > 0)).all():
        raise OptionError("mu", mu, "a number above 0; a large one gives least squares")
    return np.broadcast_to(bounds, num_classes).copy()


def _check_finite(name: str, tensor: Tensor) -> None:
    # Row by row in parts, as a mask of all of X Xᵀ would be large.
    if not all(part.isfinite().all() for part in torch.split(tensor, _ROWS_CHECKED)):
        raise ValueError(f"{name} holds NaN or infinity; give finite numbers.")


def _check_sums(gram: Tensor, cross: Tensor, label_sq: Tensor) -> None:
    """Checks shapes, symmetry, and (X l)ᵢ² ≤ ‖xᵢ‖² ‖l‖², which sums of different data are likely to violate."""
    m, classes = cross.shape if cross.dim() == 2 else (0, 0)
    if not m * classes or gram.shape != (m, m) or label_sq.shape != (classes,):
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (gram, cross, label_sq))
        raise ValueError(f"gram, cross and label_sq are of shapes {shapes}; give (m, m), (m, C) and (C,).")
    for name, tensor in (("gram", gram), ("cross", cross), ("label_sq", label_sq)):
        _check_finite(name, tensor)
    squares = gram.diagonal().double().cpu()
    largest = float(squares.abs().max())
    differences = (gram[rows, columns] - gram[columns, rows].T for rows, columns in blocks(m))
    if max(float(difference.abs().max()) for difference in differences) > 1e-6 * largest:
        raise ValueError("gram is not symmetric; give X Xᵀ.")
    allowed = (squares + 1e-6 * largest)[:, None] * label_sq.double().cpu()
    if float(squares.min()) < -1e-6 * largest or (cross.double().cpu() ** 2 > allowed * (1 + 1e-6)).any():
        raise ValueError("gram, cross and label_sq are not of the same samples; give sums over one set of samples.")
