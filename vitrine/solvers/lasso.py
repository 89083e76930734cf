"""The Lasso in its penalised form, from second moments, with a certificate."""

import torch
from torch import Tensor

MOST_STEPS = 50_000
STEPS_BETWEEN_CHECKS = 50


def solve_lasso(gram: Tensor, cross: Tensor, target_sq: Tensor, alpha: float, tol: float = 1e-5) -> Tensor:
    """argmin_w ½ (wᵀGw − 2cᵀw + y²) + α‖w‖₁, which is scikit-learn's ``Lasso`` with G = XᵀX/N, c = Xᵀy/N, y² = ‖y‖²/N.

    Accelerated proximal gradient steps (Beck and Teboulle 2009) that begin anew where the momentum points uphill
    (O'Donoghue and Candès 2015), until the duality gap is below ``tol`` · ½y².

    Args:
        gram: (d, d) G, float64.
        cross: (d,) c.
        target_sq: () y².
        alpha: α, 0 or more.
        tol: relative duality gap.

    Returns:
        (d,) w; for α = 0, which has no such certificate, the least squares solution of least norm.

    Raises:
        ValueError: for a negative α, and where the gap is not reached.
    """
    if alpha < 0:
        raise ValueError(f"alpha is {alpha}; give 0 or more.")
    if alpha == 0:
        least_squares: Tensor = torch.linalg.pinv(gram, hermitian=True) @ cross
        return least_squares
    target_sq = target_sq.clamp(min=0)  # a constant target's variance may be off by rounding
    step = 1 / torch.linalg.matrix_norm(gram, ord=2).clamp(min=torch.finfo(gram.dtype).tiny)
    w = before = torch.zeros_like(cross)
    ahead, momentum = w, 1.0
    for number in range(MOST_STEPS):
        if number % STEPS_BETWEEN_CHECKS == 0 and duality_gap(gram, cross, target_sq, alpha, w) <= tol * target_sq / 2:
            return w
        moved = ahead - step * (gram @ ahead - cross)
        w, before = moved.sign() * (moved.abs() - step * alpha).clamp(min=0), w
        faster = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        if torch.dot(ahead - w, w - before) > 0:
            faster, momentum = 1.0, 1.0
        ahead, momentum = w + (momentum - 1) / faster * (w - before), faster
    raise ValueError(f"The Lasso did not converge for alpha {alpha}; give a larger one.")


def duality_gap(gram: Tensor, cross: Tensor, target_sq: Tensor, alpha: float, w: Tensor) -> Tensor:
    """() an upper bound of how far w is from the optimum of `solve_lasso`'s problem, whose arguments these are."""
    product = gram @ w
    residual_sq = (target_sq - 2 * cross @ w + w @ product).clamp(min=0)
    correlation = (cross - product).abs().max()
    primal = residual_sq / 2 + alpha * w.abs().sum()
    # The residual, scaled until no column correlates with it by more than α, is feasible for the dual.
    scale = (alpha / correlation).clamp(max=1) if correlation > 0 else torch.ones_like(correlation)
    dual = scale * (target_sq - cross @ w) - scale**2 * residual_sq / 2
    return primal - dual
