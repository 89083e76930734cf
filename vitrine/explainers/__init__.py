"""Explainers: frozen backbones with heads that show what they look at."""

from vitrine.explainers.base import Explainer, load
from vitrine.explainers.inversion import InversionExplainer
from vitrine.explainers.mu_lasso import MuLassoExplainer
from vitrine.explainers.mu_lasso_fit import MuLassoFit
from vitrine.explainers.selected_features import SelectedFeaturesExplainer
from vitrine.explainers.srae import SRAEExplainer

__all__ = [
    "Explainer",
    "InversionExplainer",
    "MuLassoExplainer",
    "MuLassoFit",
    "SRAEExplainer",
    "SelectedFeaturesExplainer",
    "load",
]
