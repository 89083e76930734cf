"""Maps that say nothing of where."""

from torch import Tensor


def degenerate(maps: Tensor) -> Tensor:
    """Which maps say nothing of where: constant ones, such as zeros alone, and those with NaN or infinity in them.

    Args:
        maps: (B, H, W).

    Returns:
        (B,) bool.
    """
    flat = maps.flatten(1)
    return ~flat.isfinite().all(dim=1) | (flat.amax(dim=1) == flat.amin(dim=1))
