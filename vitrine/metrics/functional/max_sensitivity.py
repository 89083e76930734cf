"""Max-sensitivity of explanations (Yeh, Hsieh, Suggala, Inouye and Ravikumar, NeurIPS 2019)."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from vitrine.core.options import checked
from vitrine.core.precision import in_full
from vitrine.metrics.functional.checks import checked_images, checked_maps


@checked
def max_sensitivity(
    explain: Callable[[Tensor], Tensor],
    images: Tensor,
    maps: Tensor,
    noise: Iterable[Tensor],
    *,
    normalize: bool = False,
) -> Tensor:
    """How much a map changes, at the most, when its image changes imperceptibly.

    SENS(Φ, f, x, r) = max over ‖y − x‖∞ ≤ r of ‖Φ(f, y) − Φ(f, x)‖ / ‖Φ(f, x)‖, the maximum over the noise that is given, in
    Euclidean norms. It is 0 for an explanation that does not depend on the image.

    Args:
        explain: maps (B, C, H, W) images to their (B, H, W) maps, always of the same classes.
        images: (B, C, H, W), normalised for the network.
        maps: (B, H, W) maps of the images themselves.
        noise: N times y − x (B, C, H, W); made as it is needed.
        normalize: whether each map is divided by its own norm first, so that the scale of a map does not count; values are
            from 0 to 2 then, and 1 where the map of a perturbed image is zeros.

    Returns:
        (B,) float64; NaN for maps of zeros, and where one of an image's maps has NaN or infinity.

    Raises:
        ValueError: for maps of another size than the images, images that are not finite floats, and no noise.

    Example:
        >>> images = torch.ones(2, 1, 4, 4)
        >>> max_sensitivity(lambda images: images[:, 0], images, images[:, 0], [0.1 * images, -0.2 * images])
        tensor([0.2000, 0.2000], dtype=torch.float64)
    """
    images = checked_images(images, maps)

    def read(maps: Tensor) -> Tensor:
        wide = maps.detach().to(images.device).double()
        return _over_norm(wide) if normalize else wide

    own = read(checked_maps(maps))
    norms = []
    for change in noise:
        perturbed = (in_full(images) + change.to(images.device)).to(images.dtype)
        norms.append((read(explain(perturbed)) - own).flatten(1).norm(dim=1))
    if not norms:
        raise ValueError("noise is empty; give one or more changes of the images.")
    largest = torch.stack(norms).amax(dim=0)  # keeps NaN
    size = own.flatten(1).norm(dim=1)
    values: Tensor = largest / size.where(size != 0, torch.nan)
    return values.where(values.isfinite(), torch.nan)


def _over_norm(maps: Tensor) -> Tensor:
    """(B, H, W) maps, each divided by its Euclidean norm; zeros stay zeros."""
    norms = maps.flatten(1).norm(dim=1)[:, None, None]
    unit: Tensor = maps / norms.where(norms != 0, 1)
    return unit
