"""MetricOptions: what a configuration sets of the metrics that follow from a data set's annotation."""

from dataclasses import dataclass

from vitrine.core.options import NonNegative, Options


@dataclass(frozen=True)
class MetricOptions(Options):
    """What a configuration sets of the metrics that a test computes by itself.

    Args:
        pointing_tolerance: distance to an object up to which a heatmap's maximum is a hit, in pixels of the original image,
            see `PointingGame`; 15 is the protocol of Zhang et al. on VOC.
        localization_alpha: α of `LocalizationError`; null for the one that ``validate`` chose, or 1 where none was chosen.
        every_alpha: whether the errors of single images are kept at each α, so that α can be chosen on some of the tested
            images and the error reported on the others; see ``python -m experiments.halves``.

    Example:
        >>> MetricOptions(localization_alpha=1.5).pointing_tolerance
        0.0
    """

    pointing_tolerance: NonNegative = 0.0
    localization_alpha: NonNegative | None = None
    every_alpha: bool = False
