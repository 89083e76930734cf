"""Locality of x-features: over which parts or objects of the image a heatmap is spread (Algorithm 1 of Qi et al.)."""

import torch
from torch import Tensor

from vitrine.metrics.functional.localization import box_region


def pixel_probabilities(maps: Tensor) -> Tensor:
    """P(pixel | x-feature) = S_ij = C_ij / Σ C, negative values of the map C cut to 0 before (section 4.1 of Qi et al.).

    Args:
        maps: (n, H, W).

    Returns:
        (n, H, W) float64 that sums to 1 over each image; NaN throughout for a map without a positive value or with NaN or
        infinity in it.
    """
    positive = maps.double().clamp(min=0)
    finite = maps.isfinite().flatten(1).all(dim=1)[:, None, None]
    return (positive / positive.sum(dim=(1, 2), keepdim=True)).masked_fill(~finite, torch.nan)


def voronoi_part_probabilities(maps: Tensor, parts: Tensor, box: Tensor) -> Tensor:
    """P(part p | x-feature) = Σ_ij P(part p | pixel ij) S_ij, with S the `pixel_probabilities` (Algorithm 1 of Qi et al.).

    P(part | pixel) are the `voronoi_weights`; the last column is the context, all that lies outside the box. What a pixel of
    the box loses by its distance from its part counts for none, so a row need not sum to 1.

    Args:
        maps: (n, H, W).
        parts: (P, 3): x, y, visible (0 or 1).
        box: (4,) or (1, 4) half-open x0, y0, x1, y1.

    Returns:
        (n, P + 1) float64; a row of NaN for a map without a positive value or with NaN or infinity in it.
    """
    weights = voronoi_weights(parts.to(maps.device), box.to(maps.device), (maps.shape[1], maps.shape[2]))
    return pixel_probabilities(maps).flatten(1) @ weights.flatten(1).T


def voronoi_weights(parts: Tensor, box: Tensor, size: tuple[int, int]) -> Tensor:
    """P(part | pixel) = 1 − d / max d inside the part's own Voronoi region and 0 elsewhere (Algorithm 1 of Qi et al.).

    The visible parts partition the pixels of the box, wherever they lie: each goes to the nearest, the first of several. A
    hidden part has no region. The largest d is that of the part's own region; where it is 0, as in a region of the part's own
    pixel alone, the weight is 1.

    A part names a pixel as the paper has it: x, y is the centre of column x and row y, at x + ½, y + ½ in the frame of boxes.
    So the part at (3, 4) is at distance 0 from that pixel, which is in a box with x0 ≤ 3.5 < x1 and y0 ≤ 4.5 < y1.

    Args:
        parts: (P, 3): x, y, visible (0 or 1).
        box: (4,) or (1, 4) half-open x0, y0, x1, y1.
        size: H and W of the image.

    Returns:
        (P + 1, H, W) float64 in [0, 1]; the last is the context, 1 outside the box.
    """
    inside = box_region(box.reshape(1, 4), size)
    squares = _square_distances(parts.double(), size).masked_fill(parts[:, 2, None, None] == 0, torch.inf)
    numbers = torch.arange(len(parts), device=parts.device)[:, None, None]
    own = (squares.argmin(dim=0) == numbers) & squares.isfinite() & inside
    distances = squares.sqrt().where(own, 0)
    largest = distances.amax(dim=(1, 2), keepdim=True)
    weights = (1 - distances / largest.where(largest > 0, 1)) * own
    return torch.cat([weights, ~inside[None]])


def parts_in_box(parts: Tensor, box: Tensor) -> Tensor:
    """(P,) bool: which of (P, 3) parts x, y, visible are visible and in a (4,) box, by the centre of their pixel."""
    x0, y0, x1, y1 = box.reshape(4).unbind()
    x, y = parts[:, 0] + 0.5, parts[:, 1] + 0.5
    return (parts[:, 2] != 0) & (x >= x0) & (x < x1) & (y >= y0) & (y < y1)


def _square_distances(parts: Tensor, size: tuple[int, int]) -> Tensor:
    """(P, H, W) between the centres of pixels and of parts; exact, so that ties are ties."""
    y = torch.arange(size[0], device=parts.device)[:, None]
    x = torch.arange(size[1], device=parts.device)
    return (x - parts[:, 0, None, None]).square() + (y - parts[:, 1, None, None]).square()


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


def locality(histogram: Tensor) -> Tensor:
    """H_n = −Σ_p q_p log q_p in nats, with q = S̄_p / Σ_p S̄_p and 0 log 0 = 0 (section 4.1 of Qi et al.).

    It is 0 where all lies on one part, log k where it is spread evenly over k of them.

    Args:
        histogram: (n, P) not negative: what each x-feature has on each part or object.

    Returns:
        (n,) float64; NaN for a row of zeros or with NaN in it.
    """
    mass = histogram.double()
    whole = mass.sum(dim=1, keepdim=True)
    entropies: Tensor = torch.special.entr(mass / whole).sum(dim=1)
    return entropies.masked_fill(whole[:, 0] == 0, torch.nan)  # also where there is no column that could hold NaN
