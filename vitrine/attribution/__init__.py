"""Attribution methods: where in the image a unit of the network looks."""

from vitrine.attribution.base import Method
from vitrine.attribution.excitation_backprop import ExcitationBackprop, excitation_maps

__all__ = ["ExcitationBackprop", "Method", "excitation_maps"]
