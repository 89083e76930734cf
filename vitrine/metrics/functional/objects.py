"""What heatmaps have on each annotated object (section 4.1 of Qi et al.)."""

import torch
from torch import Tensor

from vitrine.metrics.functional.pixels import pixel_probabilities


def object_probabilities(maps: Tensor, objects: Tensor, num_objects: int | None = None) -> Tensor:
    """P(object p | x-feature) = Σ_{ij ∈ object p} S_ij, with S the `pixel_probabilities` (section 4.1 of Qi et al.).

    Pixels of id 0 are unlabelled and count for no object, so a row need not sum to 1.

    Args:
        maps: (n, H, W).
        objects: (H, W) ids from 0 to K.
        num_objects: K; the largest id of the image without it.

    Returns:
        (n, K) float64, column k − 1 for id k; a row of NaN for a map without a positive value or with NaN or infinity in it.

    Raises:
        ValueError: for an id above ``num_objects``.
    """
    ids = objects.to(maps.device).long().flatten()
    largest = int(ids.max())
    count = largest if num_objects is None else num_objects
    if largest > count:
        raise ValueError(
            f"objects has the id {largest}, but num_objects is {count}: give the largest id of the data set."
        )
    shares = pixel_probabilities(maps).flatten(1)
    mass = shares.new_zeros(len(maps), count + 1).index_add_(1, ids, shares)[:, 1:]
    return mass.masked_fill(shares.isnan().any(dim=1, keepdim=True), torch.nan)
