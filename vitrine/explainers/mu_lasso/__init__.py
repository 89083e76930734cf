"""The μ-Lasso selector (Oramas, Wang and Tuytelaars, ICLR 2019): the few filters that a class rests on.

`explainer` has equation 1 and the heatmaps, `fit` its solution, `thresholds` what an activation must exceed, and `layer` the
selector as a layer for a loss of one's own.
"""

from vitrine.explainers.mu_lasso.layer import MuLassoLayer

__all__ = ["MuLassoLayer"]
