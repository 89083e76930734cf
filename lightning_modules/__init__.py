"""LightningModules: the classifier to be explained, and one thin module an explainer."""

from lightning_modules.attribution import AttributionModule
from lightning_modules.base import ExplainerModule
from lightning_modules.classifier import ClassifierModule
from lightning_modules.comparison import ComparisonModule
from lightning_modules.inversion import InversionModule
from lightning_modules.masking import MaskingModule
from lightning_modules.mu_lasso import MuLassoModule
from lightning_modules.selected_features import SelectedFeaturesModule
from lightning_modules.srae import SRAEModule
from lightning_modules.srae_settings import SRAESettingsModule

__all__ = [
    "AttributionModule",
    "ClassifierModule",
    "ComparisonModule",
    "ExplainerModule",
    "InversionModule",
    "MaskingModule",
    "MuLassoModule",
    "SRAEModule",
    "SRAESettingsModule",
    "SelectedFeaturesModule",
]
