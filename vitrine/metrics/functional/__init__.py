"""Functional metrics: the pure functions that the metric classes are made of."""

from vitrine.core.image_ops import degenerate
from vitrine.core.key_noise import KeyNoise
from vitrine.metrics.functional.causal_truth import PartReduction, logit_drops, part_importance, rank_correlation
from vitrine.metrics.functional.class_scores import class_scores
from vitrine.metrics.functional.complexity import complexity, sparseness
from vitrine.metrics.functional.components import connected_components, largest_component
from vitrine.metrics.functional.faithfulness import absolute_difference, decision_kept
from vitrine.metrics.functional.imputation import linear_imputation
from vitrine.metrics.functional.infidelity import gaussian_perturbations, infidelity, square_perturbations
from vitrine.metrics.functional.insertion_deletion import (
    check_insertion_deletion,
    curve_area,
    deletion_curve,
    insertion_curve,
    saliency_ranks,
    step_shares,
)
from vitrine.metrics.functional.locality import (
    locality,
    object_probabilities,
    parts_in_box,
    pixel_probabilities,
    voronoi_part_probabilities,
    voronoi_weights,
)
from vitrine.metrics.functional.localization import (
    LOCALIZATION_ALPHAS,
    REQUIRED_IOU,
    box_region,
    localization_error,
    localization_ious,
    localization_success,
    tightest_box,
    tightest_boxes,
)
from vitrine.metrics.functional.masks import (
    IOU_THRESHOLDS,
    MAPS_AT_ONCE,
    area_under_iou,
    energy_inside,
    iou_at_thresholds,
    iou_curve,
    iou_curve_area,
)
from vitrine.metrics.functional.max_sensitivity import max_sensitivity
from vitrine.metrics.functional.orthogonality import (
    MapMoments,
    map_moments,
    orthogonality,
    orthogonality_of_moments,
    pooled_moments,
)
from vitrine.metrics.functional.pixel_flipping import (
    area_over_perturbation_curve,
    flipped_shares,
    pixel_flipping_curve,
)
from vitrine.metrics.functional.pointing import is_difficult, maximum_point, pointing_hit, points_hit, source_pixels
from vitrine.metrics.functional.road import ROAD_SHARES, road_curve
from vitrine.metrics.functional.saliency_detection import (
    BETA_SQUARED,
    SALIENCY_LEVELS,
    SaliencyCurves,
    SaliencyScores,
    saliency_curves,
    saliency_scores,
)

__all__ = [
    "BETA_SQUARED",
    "IOU_THRESHOLDS",
    "LOCALIZATION_ALPHAS",
    "MAPS_AT_ONCE",
    "REQUIRED_IOU",
    "ROAD_SHARES",
    "SALIENCY_LEVELS",
    "KeyNoise",
    "MapMoments",
    "PartReduction",
    "SaliencyCurves",
    "SaliencyScores",
    "absolute_difference",
    "area_over_perturbation_curve",
    "area_under_iou",
    "box_region",
    "check_insertion_deletion",
    "class_scores",
    "complexity",
    "connected_components",
    "curve_area",
    "decision_kept",
    "degenerate",
    "deletion_curve",
    "energy_inside",
    "flipped_shares",
    "gaussian_perturbations",
    "infidelity",
    "insertion_curve",
    "iou_at_thresholds",
    "iou_curve",
    "iou_curve_area",
    "is_difficult",
    "largest_component",
    "linear_imputation",
    "locality",
    "localization_error",
    "localization_ious",
    "localization_success",
    "logit_drops",
    "map_moments",
    "max_sensitivity",
    "maximum_point",
    "object_probabilities",
    "orthogonality",
    "orthogonality_of_moments",
    "part_importance",
    "parts_in_box",
    "pixel_flipping_curve",
    "pixel_probabilities",
    "pointing_hit",
    "points_hit",
    "pooled_moments",
    "rank_correlation",
    "road_curve",
    "saliency_curves",
    "saliency_ranks",
    "saliency_scores",
    "source_pixels",
    "sparseness",
    "square_perturbations",
    "step_shares",
    "tightest_box",
    "tightest_boxes",
    "voronoi_part_probabilities",
    "voronoi_weights",
]
