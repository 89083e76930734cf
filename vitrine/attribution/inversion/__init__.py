"""Guided feature inversion: masks under which a network keeps its features and its class (Du et al., KDD 2018)."""

from vitrine.attribution.inversion.choices import layers_that_work, refusal_of_layers, tried
from vitrine.attribution.inversion.layers import InversionLayers, inversion_layers
from vitrine.attribution.inversion.network import InvertedNetwork, Reading, predicted
from vitrine.attribution.inversion.objective import InversionObjective
from vitrine.attribution.inversion.optimisation import InversionResult, no_progress, optimise
from vitrine.attribution.inversion.problem import InversionProblem, WeightPredictor, make_problem
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
    "inversion_layers",
    "layers_that_work",
    "make_problem",
    "no_progress",
    "optimise",
    "predicted",
    "refusal_of_layers",
    "settings_of",
    "tried",
]
