"""Attribution methods: heatmaps of the pixels that a class, or a channel of a layer, depends on."""

from vitrine.attribution.attention.attention_relevance import AttentionRelevance
from vitrine.attribution.attention.attention_rollout import AttentionRollout
from vitrine.attribution.base import Method
from vitrine.attribution.cam.cam import CAM
from vitrine.attribution.cam.grad_cam import (
    GradCAM,
    GradCAMPlusPlus,
    GuidedGradCAM,
    GuidedGradCAMPlusPlus,
    LayerCAM,
)
from vitrine.attribution.cam.score_cam import ScoreCAM
from vitrine.attribution.cam.upsampled_activation import UpsampledActivation
from vitrine.attribution.center import Center
from vitrine.attribution.excitation.excitation_backprop import ExcitationBackprop, excitation_maps
from vitrine.attribution.gradient.deconvnet import Deconvnet, GuidedBackprop
from vitrine.attribution.gradient.integrated_gradients import IntegratedGradients
from vitrine.attribution.gradient.saliency import Saliency
from vitrine.attribution.gradient.smooth_grad import SmoothGrad
from vitrine.attribution.inversion.feature_inversion import FeatureInversion
from vitrine.attribution.inversion.inversion_mask import InversionMask
from vitrine.attribution.lrp.lrp import LRP, relevance_maps
from vitrine.attribution.perturbation.extremal_perturbation import ExtremalPerturbation
from vitrine.attribution.perturbation.meaningful_perturbation import MeaningfulPerturbation
from vitrine.attribution.perturbation.occlusion import Occlusion
from vitrine.attribution.perturbation.rise import RISE

__all__ = [
    "CAM",
    "LRP",
    "RISE",
    "AttentionRelevance",
    "AttentionRollout",
    "Center",
    "Deconvnet",
    "ExcitationBackprop",
    "ExtremalPerturbation",
    "FeatureInversion",
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
    "relevance_maps",
]
