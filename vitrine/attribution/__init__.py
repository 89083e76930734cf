"""Attribution methods: where in the image a class or a filter of the network looks."""

from vitrine.attribution.base import Method
from vitrine.attribution.cam import CAM
from vitrine.attribution.center import Center
from vitrine.attribution.deconvnet import Deconvnet
from vitrine.attribution.excitation_backprop import ExcitationBackprop, excitation_maps
from vitrine.attribution.extremal_perturbation import ExtremalPerturbation
from vitrine.attribution.grad_cam import GradCAM
from vitrine.attribution.grad_cam_plus_plus import GradCAMPlusPlus
from vitrine.attribution.guided_backprop import GuidedBackprop
from vitrine.attribution.guided_grad_cam import GuidedGradCAM, GuidedGradCAMPlusPlus
from vitrine.attribution.integrated_gradients import IntegratedGradients
from vitrine.attribution.inversion_mask import InversionMask
from vitrine.attribution.layer_cam import LayerCAM
from vitrine.attribution.lrp import LRP
from vitrine.attribution.meaningful_perturbation import MeaningfulPerturbation
from vitrine.attribution.occlusion import Occlusion
from vitrine.attribution.rise import RISE
from vitrine.attribution.saliency import Saliency
from vitrine.attribution.score_cam import ScoreCAM
from vitrine.attribution.smooth_grad import SmoothGrad
from vitrine.attribution.upsampled_activation import UpsampledActivation

__all__ = [
    "CAM",
    "LRP",
    "RISE",
    "Center",
    "Deconvnet",
    "ExcitationBackprop",
    "ExtremalPerturbation",
    "GradCAM",
    "GradCAMPlusPlus",
    "GuidedBackprop",
    "GuidedGradCAM",
    "GuidedGradCAMPlusPlus",
    "IntegratedGradients",
    "InversionMask",
    "LayerCAM",
    "MeaningfulPerturbation",
    "Method",
    "Occlusion",
    "Saliency",
    "ScoreCAM",
    "SmoothGrad",
    "UpsampledActivation",
    "excitation_maps",
]
