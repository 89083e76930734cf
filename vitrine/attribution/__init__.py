"""Attribution methods: where in the image a class or a filter of the network looks."""

from vitrine.attribution.base import Method
from vitrine.attribution.deconvnet import Deconvnet
from vitrine.attribution.excitation_backprop import ExcitationBackprop, excitation_maps
from vitrine.attribution.guided_backprop import GuidedBackprop

__all__ = ["Deconvnet", "ExcitationBackprop", "GuidedBackprop", "Method", "excitation_maps"]
