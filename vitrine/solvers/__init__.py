"""Sparse linear solvers: projection onto the ℓ1 ball, and the μ-Lasso with a certified duality gap."""

from vitrine.solvers.mu_lasso import MuLassoSolution, solve_mu_lasso, solve_mu_lasso_rows
from vitrine.solvers.projection import project_l1_ball
from vitrine.solvers.streaming import StreamedMuLasso, StreamedSolution
from vitrine.solvers.sums import MuLassoSums

__all__ = [
    "MuLassoSolution",
    "MuLassoSums",
    "StreamedMuLasso",
    "StreamedSolution",
    "project_l1_ball",
    "solve_mu_lasso",
    "solve_mu_lasso_rows",
]
