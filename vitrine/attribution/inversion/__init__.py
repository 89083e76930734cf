"""Guided feature inversion: the mask under which a network sees the same (Du, Liu, Song and Hu, KDD 2018)."""

from vitrine.attribution.inversion.layers import InversionLayers, inversion_layers
from vitrine.attribution.inversion.network import InvertedNetwork, Reading, predicted
from vitrine.attribution.inversion.objective import InversionObjective
from vitrine.attribution.inversion.optimisation import InversionResult, ignored, optimise
from vitrine.attribution.inversion.problem import InversionProblem, WeightPredictor, pose
from vitrine.attribution.inversion.settings import VARIANTS, InversionSettings, settings_of

__all__ = [
    "VARIANTS",
    "InversionLayers",
    "InversionObjective",
    "InversionProblem",
    "InversionResult",
    "InversionSettings",
    "InvertedNetwork",
    "Reading",
    "WeightPredictor",
    "ignored",
    "inversion_layers",
    "optimise",
    "pose",
    "predicted",
    "settings_of",
]
