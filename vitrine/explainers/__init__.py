"""Explainers: frozen backbones with heads that show what they look at."""

from vitrine.explainers.base import Explainer
from vitrine.explainers.inversion.explainer import InversionExplainer
from vitrine.explainers.loading import load
from vitrine.explainers.mu_lasso.explainer import MuLassoExplainer
from vitrine.explainers.mu_lasso.fit import MuLassoFit
from vitrine.explainers.srae.baselines import SelectedFeaturesExplainer
from vitrine.explainers.srae.explainer import SRAEExplainer

__all__ = [
    "Explainer",
    "InversionExplainer",
    "MuLassoExplainer",
    "MuLassoFit",
    "SRAEExplainer",
    "SelectedFeaturesExplainer",
    "load",
]
