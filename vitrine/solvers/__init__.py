"""The ℓ1-ball projection, and the μ-Lasso with a certificate."""

from vitrine.solvers.mu_lasso import MuLassoSolution, solve_mu_lasso, solve_mu_lasso_rows
from vitrine.solvers.projection import project_l1_ball
from vitrine.solvers.sums import MuLassoSums

__all__ = ["MuLassoSolution", "MuLassoSums", "project_l1_ball", "solve_mu_lasso", "solve_mu_lasso_rows"]
