"""The pure functions under the metrics."""

from vitrine.metrics.functional.boxes import box_region
from vitrine.metrics.functional.correlation import (
    MapMoments,
    map_moments,
    orthogonality,
    orthogonality_of_moments,
    pooled_moments,
)
from vitrine.metrics.functional.degeneracy import degenerate
from vitrine.metrics.functional.energy import energy_inside
from vitrine.metrics.functional.entropy import locality
from vitrine.metrics.functional.faithfulness import absolute_difference, decision_kept
from vitrine.metrics.functional.iou import (
    IOU_THRESHOLDS,
    MAPS_AT_ONCE,
    area_under_iou,
    iou_at_thresholds,
    iou_curve,
    iou_curve_area,
)
from vitrine.metrics.functional.objects import object_probabilities
from vitrine.metrics.functional.parts import parts_in_box, voronoi_part_probabilities, voronoi_weights
from vitrine.metrics.functional.pixels import pixel_probabilities
from vitrine.metrics.functional.pointing import is_difficult, maximum_point, pointing_hit

__all__ = [
    "IOU_THRESHOLDS",
    "MAPS_AT_ONCE",
    "MapMoments",
    "absolute_difference",
    "area_under_iou",
    "box_region",
    "decision_kept",
    "degenerate",
    "energy_inside",
    "iou_at_thresholds",
    "iou_curve",
    "iou_curve_area",
    "is_difficult",
    "locality",
    "map_moments",
    "maximum_point",
    "object_probabilities",
    "orthogonality",
    "orthogonality_of_moments",
    "parts_in_box",
    "pixel_probabilities",
    "pointing_hit",
    "pooled_moments",
    "voronoi_part_probabilities",
    "voronoi_weights",
]
