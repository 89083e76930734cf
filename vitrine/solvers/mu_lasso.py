"""The μ-Lasso of all classes: min ‖Xᵀw − l‖² subject to ‖w‖₁ ≤ μ (equation 1 in Oramas, Wang, Tuytelaars, ICLR 2019)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from vitrine.solvers.lasso_path import Advance, LassoPaths
from vitrine.solvers.least_squares import Floats, GramLeastSquares, RowLeastSquares, as_float64

Mu = float | Sequence[float] | Tensor


@dataclass(frozen=True)
class MuLassoSolution:
    """Weights of C classes, with a certificate for each and the paths that led to them.

    Attributes:
        weights: (m, C) float64, on the CPU.
        mu: (C,) bound of each column's ℓ1 norm.
        objective: (C,) ‖Xᵀw − l‖².
        gap: (C,) certified duality gap: no w within the bound has an objective that is lower by more than this, rounding
            in float64 included.
        tol: share of the objective that a gap is allowed.
    """

    weights: Tensor
    mu: Tensor
    objective: Tensor
    gap: Tensor
    tol: float
    paths: LassoPaths = field(repr=False, compare=False)

    @property
    def relative_gap(self) -> Tensor:
        """(C,) gap over objective; 0 where both are 0, infinite where the objective alone is."""
        return torch.where(self.gap == 0, 0.0, self.gap / self.objective)

    @property
    def converged(self) -> Tensor:
        """(C,) bool: the gap is at most ``tol`` of the objective.

        Not so where rounding stands in the way: an objective that is 0, or next to it, beside the labels' own norm.
        """
        return self.gap <= self.tol * self.objective

    def at(self, mu: Mu, advance: Advance = lambda: None) -> "MuLassoSolution":
        """The solution for another μ, from what is known of the paths.

        The solution is piecewise linear in ‖w‖₁. A smaller μ is read off the kept path; for a larger one the path goes on
        from where it ended. Either is certified anew, by one product with the data.

        Args:
            mu: one number for all classes, or one a class.
            advance: called after each class.

        Raises:
            ValueError: μ is not a finite number above 0.
        """
        return _solve(self.paths, mu, self.tol, advance)


def solve_mu_lasso(
    gram: Tensor, cross: Tensor, label_sq: Tensor, mu: Mu, tol: float = 1e-6, *, advance: Advance = lambda: None
) -> MuLassoSolution:
    """Solves the μ-Lasso of every class from sums over the data, as `MuLassoSums` gathers them.

    Minimises ‖Xᵀw − l‖² subject to ‖w‖₁ ≤ μ, without ½, 1/N or intercept, by the Lasso's homotopy on a working set of
    columns, which an active-set method mends where columns all but depend on each other. All in float64.

    Args:
        gram: (m, m) X Xᵀ.
        cross: (m, C) X l of each class.
        label_sq: (C,) ‖l‖² of each class.
        mu: bound of ‖w‖₁: one number for all classes, or one a class.
        tol: largest duality gap, as a share of the objective.
        advance: called after each class.

    Returns:
        The solution. A filter that never responds has weight 0, and of filters that depend on each other as few as
        needed have weights. Whether a class reached ``tol`` is in ``converged``.

    Raises:
        ValueError: shapes do not fit, NaN or infinity in the sums, sums that cannot be of the same data, or μ or ``tol``
            is not a finite number above 0.
    """
    gram, cross, label_sq = gram.detach(), cross.detach(), label_sq.detach()
    _check_sums(gram, cross, label_sq)
    return _solve(LassoPaths(GramLeastSquares(gram, cross, label_sq)), mu, tol, advance)


def solve_mu_lasso_rows(
    x: Tensor, labels: Tensor, mu: Mu, tol: float = 1e-6, *, advance: Advance = lambda: None
) -> MuLassoSolution:
    """`solve_mu_lasso` from the data itself, without ever forming the whole X Xᵀ: for more filters than samples, or too many.

    Data of more than a gibibyte in float64 is read in blocks, once a round of some ten, so that it may be
    memory-mapped; products are taken on the device of ``x``.

    Args:
        x: (N, m) responses, of any floating-point type.
        labels: (N, C).
        mu: bound of ‖w‖₁: one number for all classes, or one a class.
        tol: largest duality gap, as a share of the objective.
        advance: called after each class.

    Raises:
        ValueError: shapes do not fit, NaN or infinity in the data, or μ or ``tol`` is not a finite number above 0.
    """
    if x.dim() != 2 or labels.dim() != 2 or len(x) != len(labels) or not x.numel() or not labels.numel():
        shapes = f"{tuple(x.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"Responses (N, m) and labels (N, C) are of the same N ≥ 1 samples, not {shapes}.")
    _check_finite("labels", labels)
    problem = RowLeastSquares(x, labels)
    if not np.isfinite(problem.norms).all():
        column = int(np.flatnonzero(~np.isfinite(problem.norms))[0])
        raise ValueError(f"Responses of filter {column} have NaN or infinity in them.")
    return _solve(LassoPaths(problem), mu, tol, advance)


def _solve(paths: LassoPaths, mu: Mu, tol: float, advance: Advance) -> MuLassoSolution:
    bounds = _bounds(mu, len(paths.paths))
    if not 0 < tol < np.inf:
        raise ValueError(f"The tolerance is a number above 0, not {tol}.")
    weights, objective, gap = (torch.from_numpy(array) for array in paths.solve(bounds, tol, advance))
    return MuLassoSolution(weights.contiguous(), torch.from_numpy(bounds), objective, gap, tol, paths)


def _bounds(mu: Mu, num_classes: int) -> Floats:
    """(C,) μ of each class."""
    bounds = as_float64(torch.as_tensor(mu, dtype=torch.float64))
    if bounds.shape not in {(), (num_classes,)}:
        raise ValueError(f"μ is one number, or one for each of the {num_classes} classes, not of shape {bounds.shape}.")
    if not (np.isfinite(bounds) & (bounds > 0)).all():
        raise ValueError(f"μ is a finite number above 0, not {mu}; a large one gives least squares.")
    return np.broadcast_to(bounds, num_classes).copy()


def _check_finite(name: str, tensor: Tensor) -> None:
    if not tensor.isfinite().all():
        raise ValueError(f"The {name} of the μ-Lasso have NaN or infinity in them.")


def _check_sums(gram: Tensor, cross: Tensor, label_sq: Tensor) -> None:
    """Shapes, symmetry, and (X l)ᵢ² ≤ ‖xᵢ‖² ‖l‖², which sums of different data are not likely to keep."""
    m, classes = cross.shape if cross.dim() == 2 else (0, 0)
    if not m * classes or gram.shape != (m, m) or label_sq.shape != (classes,):
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (gram, cross, label_sq))
        raise ValueError(f"The sums are of shapes (m, m), (m, C) and (C,), not {shapes}.")
    for name, tensor in (("gram", gram), ("cross", cross), ("label_sq", label_sq)):
        _check_finite(name, tensor)
    squares = gram.diagonal().double().cpu()
    largest = float(squares.abs().max())
    if float((gram - gram.T).abs().max()) > 1e-6 * largest:
        raise ValueError("The matrix gram is not symmetric: it is X Xᵀ.")
    allowed = (squares + 1e-6 * largest)[:, None] * label_sq.double().cpu()
    if float(squares.min()) < -1e-6 * largest or (cross.double().cpu() ** 2 > allowed * (1 + 1e-6)).any():
        raise ValueError("The sums gram, cross and label_sq are not of the same responses and labels.")
