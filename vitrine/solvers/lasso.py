"""The penalised Lasso from second moments, by accelerated proximal gradient (FISTA), with a certified duality gap."""

import torch
from torch import Tensor

from vitrine.core.options import NonNegative, Positive, checked

MAX_STEPS = 50_000
STEPS_BETWEEN_CHECKS = 50
NEW_COLUMNS = 50
"""Columns that a working set begins with, and least of what it grows by."""
WITHIN = 0.99
"""Share of the tolerance that a working set is solved to: the gap over all columns is rounded otherwise."""


@checked
def solve_lasso(gram: Tensor, cross: Tensor, target_sq: Tensor, alpha: NonNegative, tol: Positive = 1e-5) -> Tensor:
    """argmin_w ½ (wᵀGw − 2cᵀw + y²) + α‖w‖₁, which is scikit-learn's ``Lasso`` with G = XᵀX/N, c = Xᵀy/N, y² = ‖y‖²/N.

    Accelerated proximal gradient steps (Beck and Teboulle 2009) with a restart where the momentum points uphill (O'Donoghue
    and Candès 2015), on a working set of columns that grows until the duality gap over all columns is below ``tol`` · ½y².

    Args:
        gram: (d, d) G, float64.
        cross: (d,) c.
        target_sq: () y².
        alpha: α, 0 or more.
        tol: relative duality gap.

    Returns:
        (d,) w; for α = 0, which has no such certificate, the least-squares solution of minimum norm.

    Raises:
        OptionError: for a negative α, or a tolerance that is not above 0.
        ValueError: where the tolerance is not reached, and for NaN or infinity in the sums.

    Example:
        >>> x, y = torch.randn(50, 4, dtype=torch.float64), torch.randn(50, dtype=torch.float64)
        >>> w = solve_lasso(x.T @ x / 50, x.T @ y / 50, y @ y / 50, alpha=10.0)
        >>> w.shape, w.count_nonzero().item()  # a large penalty: no entry is left
        (torch.Size([4]), 0)
    """
    if not (gram.isfinite().all() and cross.isfinite().all() and target_sq.isfinite()):
        raise ValueError("The sums of the Lasso hold NaN or infinity; give finite numbers.")
    if alpha == 0:
        least_squares: Tensor = torch.linalg.pinv(gram, hermitian=True) @ cross
        return least_squares
    target_sq = target_sq.clamp(min=0)  # of a constant target it may be negative by rounding
    w = torch.zeros_like(cross)
    columns = cross.abs().topk(min(NEW_COLUMNS, len(cross))).indices
    while duality_gap(gram, cross, target_sq, alpha, w) > tol * target_sq / 2:
        on_columns = gram[columns][:, columns], cross[columns]
        w[columns] = _descended(*on_columns, target_sq, alpha, WITHIN * tol, w[columns])
        if len(columns) == len(cross):
            break  # certified on all of them
        columns = _grown(columns, (cross - gram @ w).abs())
    return w


def _grown(columns: Tensor, correlations: Tensor) -> Tensor:
    """A working set with the columns outside of it whose residual correlates most, at most as many as it has."""
    outside = correlations.index_fill(0, columns, -1)
    count = min(max(NEW_COLUMNS, len(columns)), len(outside) - len(columns))
    return torch.cat([columns, outside.topk(count).indices])


def _descended(gram: Tensor, cross: Tensor, target_sq: Tensor, alpha: float, tol: float, start: Tensor) -> Tensor:
    """The solution on a working set of columns, whose blocks of G and c these are, from a first guess on."""
    step = 1 / torch.linalg.eigvalsh(gram)[-1].clamp(min=torch.finfo(gram.dtype).tiny)
    w = previous = extrapolated = start
    momentum = 1.0
    for number in range(MAX_STEPS):
        if number % STEPS_BETWEEN_CHECKS == 0 and duality_gap(gram, cross, target_sq, alpha, w) <= tol * target_sq / 2:
            return w
        descended = extrapolated - step * (gram @ extrapolated - cross)
        w, previous = descended.sign() * (descended.abs() - step * alpha).clamp(min=0), w
        next_momentum = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        if torch.dot(extrapolated - w, w - previous) > 0:
            next_momentum, momentum = 1.0, 1.0
        extrapolated, momentum = w + (momentum - 1) / next_momentum * (w - previous), next_momentum
    raise ValueError(f"The Lasso did not converge for alpha {alpha}; give a larger one.")


def duality_gap(gram: Tensor, cross: Tensor, target_sq: Tensor, alpha: float, w: Tensor) -> Tensor:
    """() upper bound of the suboptimality of w in `solve_lasso`'s problem, whose arguments these are."""
    product = gram @ w
    residual_sq = (target_sq - 2 * cross @ w + w @ product).clamp(min=0)
    correlation = (cross - product).abs().max()
    primal = residual_sq / 2 + alpha * w.abs().sum()
    # Scaled so that no column correlates with it by more than α, the residual is feasible for the dual problem.
    scale = (alpha / correlation).clamp(max=1) if correlation > 0 else torch.ones_like(correlation)
    dual = scale * (target_sq - cross @ w) - scale**2 * residual_sq / 2
    return primal - dual
