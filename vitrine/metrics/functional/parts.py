"""What heatmaps have on each annotated part (Algorithm 1 of Qi et al.)."""

import torch
from torch import Tensor

from vitrine.metrics.functional.boxes import box_region
from vitrine.metrics.functional.pixels import pixel_probabilities


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
