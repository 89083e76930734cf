"""Explainers that need no training: a map of any attribution method."""

from vitrine.explainers.attribution.explainer import AttributionExplainer, AttributionOptions

__all__ = ["AttributionExplainer", "AttributionOptions"]
