"""Explainers: frozen backbones with heads that show what they look at."""

from vitrine.explainers.base import Explainer
from vitrine.explainers.inversion.explainer import InversionExplainer, InversionOptions
from vitrine.explainers.loading import load
from vitrine.explainers.masking.explainer import MaskingExplainer, MaskingOptions
from vitrine.explainers.masking.losses import MaskingLosses
from vitrine.explainers.mu_lasso.explainer import MuLassoExplainer, MuLassoOptions
from vitrine.explainers.mu_lasso.fit import MuLassoFit, MuLassoTraining
from vitrine.explainers.srae.baselines import SelectedFeaturesExplainer, SelectionOptions
from vitrine.explainers.srae.explainer import SRAEExplainer, SRAEOptions
from vitrine.explainers.srae.objectives import SRAETraining
from vitrine.explainers.srae.x_features import XFeatureOptions

__all__ = [
    "Explainer",
    "InversionExplainer",
    "InversionOptions",
    "MaskingExplainer",
    "MaskingLosses",
    "MaskingOptions",
    "MuLassoExplainer",
    "MuLassoFit",
    "MuLassoOptions",
    "MuLassoTraining",
    "SRAEExplainer",
    "SRAEOptions",
    "SRAETraining",
    "SelectedFeaturesExplainer",
    "SelectionOptions",
    "XFeatureOptions",
    "load",
]
