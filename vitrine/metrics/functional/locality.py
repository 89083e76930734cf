"""Locality of x-features: distributions of heatmaps over parts and objects, and their entropy (Algorithm 1 of Qi et al.)."""

import torch
from torch import Tensor

from vitrine.core.image_ops import with_exact_constants
from vitrine.metrics.functional.checks import checked_maps, checked_tensor
from vitrine.metrics.functional.localization import box_region


def pixel_probabilities(maps: Tensor) -> Tensor:
    """P(pixel | x-feature) = S_ij = C_ij / Σ C, with negative values of the map C set to 0 (section 4.1 of Qi et al.).

    Args:
        maps: (n, H, W).

    Returns:
        (n, H, W) float64, each map summing to 1; NaN throughout for a map without a positive value, or with NaN or infinity.

    Raises:
        ValueError: for maps of another number of dimensions.

    Example:
        >>> pixel_probabilities(torch.tensor([[[3.0, -2.0], [1.0, 0.0]]])).tolist()
        [[[0.75, 0.0], [0.25, 0.0]]]
    """
    positive = with_exact_constants(checked_maps(maps, dimensions="n, H, W")).double().clamp(min=0)
    finite = maps.isfinite().flatten(1).all(dim=1)[:, None, None]
    return (positive / positive.sum(dim=(1, 2), keepdim=True)).masked_fill(~finite, torch.nan)


def voronoi_part_probabilities(maps: Tensor, parts: Tensor, box: Tensor) -> Tensor:
    """P(part p | x-feature) = Σ_ij P(part p | pixel ij) S_ij, with S the `pixel_probabilities` (Algorithm 1 of Qi et al.).

    P(part | pixel) are the `voronoi_weights`; the last column is the context, all that is outside the box. The weights of a
    pixel need not sum to 1, nor do the probabilities of an x-feature.

    Args:
        maps: (n, H, W).
        parts: (P, 3): x, y, visible (0 or 1).
        box: (4,) or (1, 4) half-open x0, y0, x1, y1.

    Returns:
        (n, P + 1) float64; NaN for a map without a positive value, or with NaN or infinity.

    Example:
        >>> maps, parts = torch.zeros(1, 8, 8), torch.tensor([[1.0, 1.0, 1.0], [6.0, 6.0, 1.0]])
        >>> maps[0, 1, 1], maps[0, 6, 6] = 3, 1
        >>> voronoi_part_probabilities(maps, parts, torch.tensor([0, 0, 8, 8])).tolist()
        [[0.75, 0.25, 0.0]]
    """
    probabilities = pixel_probabilities(maps)
    weights = voronoi_weights(parts.to(maps.device), box.to(maps.device), (maps.shape[1], maps.shape[2]))
    result = probabilities.new_empty(len(maps), len(weights))
    for index, probability in enumerate(probabilities):
        # Not a matrix product, whose rounding would depend on the number of maps.
        result[index] = (weights * probability).flatten(1).sum(dim=1)
    return result


def voronoi_weights(parts: Tensor, box: Tensor, size: tuple[int, int]) -> Tensor:
    """P(part | pixel) = 1 − d / max d inside the part's Voronoi region and 0 elsewhere (Algorithm 1 of Qi et al.).

    The visible parts, inside or outside the box, partition its pixels: each pixel belongs to the nearest part, the first of
    several. Hidden parts have no region. The maximum of the distance d is that over the part's region; where it is 0, as in
    a region of one pixel, the weight is 1.

    A part is a pixel index, as in the paper: x, y is the centre of column x and row y, which has the coordinates x + ½, y + ½
    of boxes. So the part (3, 4) has distance 0 from that pixel, which is in a box with x0 ≤ 3.5 < x1 and y0 ≤ 4.5 < y1.

    Args:
        parts: (P, 3): x, y, visible (0 or 1).
        box: (4,) or (1, 4) half-open x0, y0, x1, y1.
        size: H and W of the image.

    Returns:
        (P + 1, H, W) float64 in [0, 1]; the last is the context, 1 outside the box.

    Raises:
        ValueError: for other shapes.

    Example:
        >>> parts = torch.tensor([[0.0, 0.0, 1.0], [3.0, 0.0, 1.0]])
        >>> voronoi_weights(parts, torch.tensor([0, 0, 4, 1]), (1, 4)).tolist()  # two parts and the context
        [[[1.0, 0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0, 1.0]], [[0.0, 0.0, 0.0, 0.0]]]
    """
    if checked_tensor(parts, "parts", "P, 3").shape[1] != 3 or box.numel() != 4:
        raise ValueError(f"parts has the shape {tuple(parts.shape)} and box {tuple(box.shape)}; give (P, 3) and (4,).")
    inside = box_region(box.reshape(1, 4), size)
    squares = _square_distances(parts.double(), size).masked_fill(parts[:, 2, None, None] == 0, torch.inf)
    part_indices = torch.arange(len(parts), device=parts.device)[:, None, None]
    regions = (squares.argmin(dim=0) == part_indices) & squares.isfinite() & inside
    distances = squares.sqrt().where(regions, 0)
    largest = distances.amax(dim=(1, 2), keepdim=True)
    weights = (1 - distances / largest.where(largest > 0, 1)) * regions
    return torch.cat([weights, ~inside[None]])


def parts_in_box(parts: Tensor, box: Tensor) -> Tensor:
    """(P,) bool: which of the (P, 3) parts x, y, visible are visible and in the (4,) box, by the centre of their pixel.

    Raises:
        ValueError: for parts of another shape.

    Example:
        >>> parts = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0], [5.0, 1.0, 1.0]])
        >>> parts_in_box(parts, torch.tensor([0, 0, 4, 4])).tolist()
        [True, False, False]
    """
    if parts.ndim != 2 or parts.shape[1] != 3:
        raise ValueError(f"parts has the shape {tuple(parts.shape)}; give (P, 3): x, y, visible.")
    x0, y0, x1, y1 = box.reshape(4).unbind()
    x, y = parts[:, 0] + 0.5, parts[:, 1] + 0.5
    return (parts[:, 2] != 0) & (x >= x0) & (x < x1) & (y >= y0) & (y < y1)


def _square_distances(parts: Tensor, size: tuple[int, int]) -> Tensor:
    """(P, H, W) squared distances between the centres of pixels and of parts; exact, so that ties are exact as well."""
    y = torch.arange(size[0], device=parts.device)[:, None]
    x = torch.arange(size[1], device=parts.device)
    return (x - parts[:, 0, None, None]).square() + (y - parts[:, 1, None, None]).square()


def object_probabilities(maps: Tensor, objects: Tensor, num_objects: int | None = None) -> Tensor:
    """P(object p | x-feature) = Σ_{ij ∈ object p} S_ij, with S the `pixel_probabilities` (section 4.1 of Qi et al.).

    Pixels of id 0 are unlabelled and belong to no object, so the probabilities of an x-feature need not sum to 1.

    Args:
        maps: (n, H, W).
        objects: (H, W) ids from 0 to K.
        num_objects: K; the largest id of the image without it.

    Returns:
        (n, K) float64, column k − 1 for id k; NaN for a map without a positive value, or with NaN or infinity.

    Raises:
        ValueError: for objects of another size than the maps, ids that are not integers, and one below 0 or above
            ``num_objects``.

    Example:
        >>> maps, objects = torch.tensor([[[1.0, 1.0], [1.0, 1.0]]]), torch.tensor([[0, 1], [2, 2]])
        >>> object_probabilities(maps, objects).tolist()
        [[0.25, 0.5]]
    """
    shares = pixel_probabilities(maps).flatten(1)
    if checked_tensor(objects, "objects", "H, W").shape != maps.shape[1:] or objects.is_floating_point():
        raise ValueError(
            f"objects is {objects.dtype} of shape {tuple(objects.shape)}; give integer ids of shape"
            f" {tuple(maps.shape[1:])}, the maps' size."
        )
    ids = objects.to(maps.device).long().flatten()
    smallest, largest = int(ids.min()), int(ids.max())
    if smallest < 0:
        raise ValueError(f"objects has the id {smallest}; give 0 for unlabelled pixels, and 1 or more for objects.")
    count = largest if num_objects is None else num_objects
    if largest > count:
        raise ValueError(
            f"objects has the id {largest}, but num_objects is {count}: give the largest id of the data set."
        )
    mass = shares.new_zeros(len(maps), count + 1).index_add_(1, ids, shares)[:, 1:]
    return mass.masked_fill(shares.isnan().any(dim=1, keepdim=True), torch.nan)


def locality(histogram: Tensor) -> Tensor:
    """H_n = −Σ_p q_p log q_p in nats, with q = S̄_p / Σ_p S̄_p and 0 log 0 = 0 (section 4.1 of Qi et al.).

    It is 0 for a heatmap on a single part, and log k for one spread evenly over k parts.

    Args:
        histogram: (n, P), not negative: the mass of each x-feature on each part or object.

    Returns:
        (n,) float64; NaN for an x-feature without mass, or with NaN.

    Raises:
        ValueError: for a negative mass, or another number of dimensions.

    Example:
        >>> locality(torch.tensor([[0.2, 0.2, 0.0], [0.5, 0.0, 0.0]])).round(decimals=4).tolist()
        [0.6931, 0.0]
    """
    mass = checked_tensor(histogram, "histogram", "n, P").double()
    if bool((mass < 0).any()):
        raise ValueError(f"histogram holds {float(mass[mass < 0][0]):g}; give masses of at least 0.")
    total = mass.sum(dim=1, keepdim=True)
    entropies: Tensor = torch.special.entr(mass / total).sum(dim=1)
    return entropies.masked_fill(total[:, 0] == 0, torch.nan)  # also for P = 0
