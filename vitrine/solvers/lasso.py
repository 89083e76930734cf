"""The penalised Lasso from second moments, by accelerated proximal gradient (FISTA), with a certified duality gap."""

import torch
from torch import Tensor

from vitrine.core.options import NonNegative, Positive, checked

MAX_STEPS = 50_000
STEPS_BETWEEN_CHECKS = 50


@checked
def solve_lasso(gram: Tensor, cross: Tensor, target_sq: Tensor, alpha: NonNegative, tol: Positive = 1e-5) -> Tensor:
    """argmin_w ½ (wᵀGw − 2cᵀw + y²) + α‖w‖₁, which is scikit-learn's ``Lasso`` with G = XᵀX/N, c = Xᵀy/N, y² = ‖y‖²/N.

    Accelerated proximal gradient steps (Beck and Teboulle 2009) with a restart where the momentum points uphill (O'Donoghue
    and Candès 2015), until the duality gap is below ``tol`` · ½y².

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
        ValueError: where the tolerance is not reached.

    Example:
        >>> x, y = torch.randn(50, 4, dtype=torch.float64), torch.randn(50, dtype=torch.float64)
        >>> w = solve_lasso(x.T @ x / 50, x.T @ y / 50, y @ y / 50, alpha=10.0)
        >>> w.shape, w.count_nonzero().item()  # a large penalty: no entry is left
        (torch.Size([4]), 0)
    """
    if alpha == 0:
        least_squares: Tensor = torch.linalg.pinv(gram, hermitian=True) @ cross
        return least_squares
    target_sq = target_sq.clamp(min=0)  # of a constant target it may be negative by rounding
    step = 1 / torch.linalg.matrix_norm(gram, ord=2).clamp(min=torch.finfo(gram.dtype).tiny)
    w = previous = torch.zeros_like(cross)
    extrapolated, momentum = w, 1.0
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
