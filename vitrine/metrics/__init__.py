"""Metrics of explanations; the annotations of a data set determine which of them a test computes."""

from collections.abc import Iterable, Mapping
from typing import Any

from vitrine.metrics.alive_features import AliveFeatures
from vitrine.metrics.base import Curve, ExplanationMetric, PerFeatureMetric
from vitrine.metrics.box_occlusion import BoxOcclusion
from vitrine.metrics.causal_truth import CausalTruth
from vitrine.metrics.complexity import Complexity, Sparseness
from vitrine.metrics.energy import EnergyInBoxes, EnergyInMask
from vitrine.metrics.faithfulness import ClassificationFaithfulness, ClassReconstruction, RegressionFaithfulness
from vitrine.metrics.infidelity import Infidelity, InfidelityOptions
from vitrine.metrics.insertion_deletion import InsertionDeletion
from vitrine.metrics.iou_curve import IoUCurve
from vitrine.metrics.locality import Locality, ObjectLocality
from vitrine.metrics.localization import DEFAULT_ALPHA, LocalizationError
from vitrine.metrics.masked_accuracy import MaskedAccuracy
from vitrine.metrics.max_sensitivity import MaxSensitivity, MaxSensitivityOptions
from vitrine.metrics.mean_class_accuracy import MeanClassAccuracy
from vitrine.metrics.options import MetricOptions
from vitrine.metrics.orthogonality import Orthogonality
from vitrine.metrics.parameter_randomization import ParameterRandomization, RandomizationOptions
from vitrine.metrics.pixel_flipping import PixelFlipping, PixelFlippingOptions
from vitrine.metrics.pointing import PointingGame
from vitrine.metrics.road import Road, RoadOptions
from vitrine.metrics.saliency_detection import SaliencyDetection

METRICS_BY_ANNOTATION: Mapping[str, tuple[type[ExplanationMetric], ...]] = {
    "mask": (EnergyInMask, IoUCurve, SaliencyDetection),
    "boxes": (EnergyInBoxes, LocalizationError, PointingGame),
    "parts": (Locality,),
    "objects": (ObjectLocality,),
    "counterfactuals": (),  # CausalTruth runs the network: callbacks/causal_truth.py
}

__all__ = [
    "METRICS_BY_ANNOTATION",
    "AliveFeatures",
    "BoxOcclusion",
    "CausalTruth",
    "ClassReconstruction",
    "ClassificationFaithfulness",
    "Complexity",
    "Curve",
    "EnergyInBoxes",
    "EnergyInMask",
    "ExplanationMetric",
    "Infidelity",
    "InfidelityOptions",
    "InsertionDeletion",
    "IoUCurve",
    "Locality",
    "LocalizationError",
    "MaskedAccuracy",
    "MaxSensitivity",
    "MaxSensitivityOptions",
    "MeanClassAccuracy",
    "MetricOptions",
    "ObjectLocality",
    "Orthogonality",
    "ParameterRandomization",
    "PixelFlipping",
    "PixelFlippingOptions",
    "PointingGame",
    "RandomizationOptions",
    "RegressionFaithfulness",
    "Road",
    "RoadOptions",
    "SaliencyDetection",
    "Sparseness",
    "metrics_for",
]


def metrics_for(
    annotations: Iterable[str],
    *,
    same_heatmaps: bool = True,
    options: MetricOptions = MetricOptions(),  # noqa: B008 - frozen
) -> list[ExplanationMetric]:
    """New metrics for a data set with these annotations.

    Args:
        annotations: of the data set, from ``boxes``, ``counterfactuals``, ``mask``, ``objects``, ``parts``.
        same_heatmaps: whether heatmap k means the same on all images of a class, as `PerFeatureMetric` requires.
        options: what is set of them; without an α, the localisation error is that at α = 1.

    Example:
        >>> [type(metric).__name__ for metric in metrics_for(["boxes"])]
        ['EnergyInBoxes', 'LocalizationError', 'PointingGame']
    """
    metrics = [metric for name in sorted(annotations) for metric in METRICS_BY_ANNOTATION[name]]
    alpha = options.localization_alpha
    arguments: Mapping[type[ExplanationMetric], Mapping[str, Any]] = {
        LocalizationError: {
            "alpha": DEFAULT_ALPHA if alpha is None else alpha,
            "every_alpha": options.every_alpha,
        },
        PointingGame: {"tolerance": options.pointing_tolerance},
    }
    kept = [metric for metric in metrics if same_heatmaps or not issubclass(metric, PerFeatureMetric)]
    return [metric(**arguments.get(metric, {})) for metric in kept]
