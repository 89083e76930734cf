"""Sanity check of attribution methods by model parameter randomisation (Adebayo et al., NeurIPS 2018)."""

from vitrine.attribution.sanity.cascade import randomized
from vitrine.attribution.sanity.check import Attributor, rank_correlation, sanity_check
from vitrine.attribution.sanity.report import SanityReport

__all__ = ["Attributor", "SanityReport", "randomized", "rank_correlation", "sanity_check"]
