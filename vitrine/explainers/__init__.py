"""Explainers: frozen backbones with heads that show what they look at."""

from vitrine.explainers.base import Explainer, load
from vitrine.explainers.srae import SRAEExplainer

__all__ = ["Explainer", "SRAEExplainer", "load"]
