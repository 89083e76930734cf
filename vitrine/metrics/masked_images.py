"""Masked images: only the pixels that the heatmaps show, the rest inpainted (section 4.2 and appendix I.2 of Qi et al.)."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import v2

from vitrine.core.explanation import Explanation
from vitrine.core.image_ops import display_blur, with_exact_constants
from vitrine.core.options import Range, checked
from vitrine.data.preprocessing import Preprocessing
from vitrine.metrics.functional.checks import checked_maps

Fill = Literal["inpaint", "black"]
Inpainting = Literal["telea", "navier_stokes"]
"""Fast marching (Telea 2004) or Navier-Stokes (Bertalmio et al. 2001)."""
Radius = Annotated[int, Range(at_least=1, at_most=100)]


def kept_pixels(heatmaps: Tensor, gamma: float) -> Tensor:
    """`kept_at_gammas` at one γ: (B, H, W) bool.

    Example:
        >>> kept_pixels(torch.tensor([[[[0.0, 1.0], [2.0, 4.0]]]]), gamma=0.5).tolist()
        [[[False, False], [True, True]]]
    """
    return kept_at_gammas(heatmaps, [gamma])[:, 0]


def kept_at_gammas(heatmaps: Tensor, gammas: Sequence[float]) -> Tensor:
    """Where any heatmap reaches γ of its own highest response: hₖ ≥ γ · max hₖ for some k.

    A heatmap without a positive value, or with NaN or infinity, keeps no pixel. At γ = 0 pixels of value 0 are kept and
    negative ones are not.

    Args:
        heatmaps: (B, K, H, W), of any float type and scale.
        gammas: G values of γ, 0 or more; above 1 no pixel is kept.

    Returns:
        (B, G, H, W) bool.

    Raises:
        ValueError: for heatmaps of another number of dimensions, and for a γ below 0.

    Example:
        >>> kept_at_gammas(torch.tensor([[[[0.0, 1.0], [2.0, 4.0]]]]), [0.5, 1.0]).tolist()
        [[[[False, False], [True, True]], [[False, False], [False, True]]]]
    """
    for gamma in gammas:
        if not gamma >= 0:
            raise ValueError(f"gamma is {gamma}; give 0 or more.")
    values = with_exact_constants(checked_maps(heatmaps, "heatmaps", "B, K, H, W")).detach().double()
    highest = values.amax(dim=(2, 3), keepdim=True)
    usable = values.isfinite().all(dim=3, keepdim=True).all(dim=2, keepdim=True) & (highest > 0)
    # Nothing reaches NaN.
    levels = highest.where(usable, torch.nan)
    return torch.stack([(values >= gamma * levels).any(dim=1) for gamma in gammas], dim=1)


def response_maps(explanation: Explanation, blur: float = 0.0) -> Tensor:
    """(B, K, H, W): an explanation's heatmaps for `kept_pixels`, each divided by its largest absolute value.

    Those that are not valid are zero.

    Args:
        explanation: of B images.
        blur: σ of a Gaussian over each heatmap, as a share of the longer side. Heatmaps of excitation backprop are speckled
            from pixel to pixel, so that a blur keeps many more of them; panels show heatmaps with 0.02. The paper has none.
    """
    maps = explanation.heatmaps.detach().float().where(explanation.valid[..., None, None], 0)
    sizes = maps.abs().amax(dim=(2, 3), keepdim=True)
    return display_blur(maps / sizes.where(sizes != 0, 1), blur * max(maps.shape[2:]))


@checked
def mask_images(
    images: Tensor, kept: Tensor, fill: Fill = "inpaint", method: Inpainting = "navier_stokes", radius: Radius = 3
) -> Tensor:
    """Paints the pixels that are not kept black, and inpaints them from the kept ones.

    Kept pixels stay bit for bit as they are; the others do not depend on their former values. An image without kept pixels
    is black. Inpainting is OpenCV's, on 8 bits a channel, and deterministic. Its Telea method drifts with the distance from
    the kept pixels, by up to some 20 of 255 levels over a whole image; its Navier-Stokes method reproduces constant images.

    Args:
        images: (B, C, H, W), uint8 or float in [0, 1].
        kept: (B, H, W) bool.
        fill: ``inpaint``, or ``black`` without inpainting.
        method: ``telea`` (fast marching, Telea 2004) or ``navier_stokes`` (Bertalmio et al. 2001).
        radius: of the neighbourhood from which a pixel is inpainted, in pixels, 1 to 100.

    Returns:
        (B, C, H, W) of the images' type, on their device.

    Raises:
        OptionError: for other options.
        ValueError: for a mask of another size than the images, or of another type than bool.
        ModuleNotFoundError: for ``inpaint`` where OpenCV is not installed.

    Example:
        >>> images, kept = torch.ones(1, 3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.bool)
        >>> kept[:, :2] = True
        >>> mask_images(images, kept, fill="black").mean().item()
        0.5
    """
    _check_kept(kept, images)
    kept_on_device = kept.to(images.device)[:, None]
    # Black before inpainting too: at the image's border OpenCV reads pixels that it is to inpaint.
    black = images.where(kept_on_device, 0)
    if fill == "black" or not len(images):
        return black
    scale = 255 if images.is_floating_point() else 1
    pixels = (black.float() * scale).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    inpainted = torch.from_numpy(_inpaint(pixels, ~kept.cpu().numpy(), method, radius)).permute(0, 3, 1, 2)
    return images.where(kept_on_device, (inpainted.to(images.device) / scale).to(images.dtype))


def masked_inputs(
    images: Tensor,
    kept: Tensor,
    preprocessing: Preprocessing,
    fill: Fill = "inpaint",
    method: Inpainting = "navier_stokes",
    radius: Radius = 3,
) -> Tensor:
    """`mask_images` for (B, C, H, W) images normalised for the backbone; kept pixels stay bit for bit as they are."""
    if fill == "black":
        _check_kept(kept, images)
        filled = torch.zeros(images.shape[1], 1, 1, device=images.device)
    else:
        filled = mask_images(preprocessing.denormalize(images.float()), kept, fill, method, radius)
    normalised = v2.functional.normalize(filled, list(preprocessing.mean), list(preprocessing.std))
    return images.where(kept.to(images.device)[:, None], normalised.to(images.dtype))


def _check_kept(kept: Tensor, images: Tensor) -> None:
    if kept.shape != (len(images), *images.shape[2:]):
        raise ValueError(f"kept must be {(len(images), *images.shape[2:])}, got {tuple(kept.shape)}.")
    if kept.dtype != torch.bool:
        raise ValueError(f"kept is {kept.dtype}; give booleans, such as those of kept_pixels.")


def opencv() -> Any:
    """The module ``cv2``, which is an optional extra.

    Raises:
        ModuleNotFoundError: where OpenCV is not installed.
    """
    try:
        import cv2  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Inpainting masked images needs OpenCV: pip install 'vitrine[inpainting]'; or give fill: black."
        ) from error
    return cv2


def _inpaint(pixels: NDArray[np.uint8], holes: NDArray[np.bool_], method: Inpainting, radius: int) -> NDArray[np.uint8]:
    """(B, H, W, C) uint8: the images with their (B, H, W) holes inpainted, each by itself."""
    cv2 = opencv()
    flag = {"telea": cv2.INPAINT_TELEA, "navier_stokes": cv2.INPAINT_NS}[method]
    # OpenCV releases the interpreter lock, so as many images are inpainted at once as torch may use cores.
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        inpainted: Sequence[NDArray[np.uint8]] = list(pool.map(partial(_inpaint_one, cv2, flag, radius), pixels, holes))
    return np.stack(inpainted)


def _inpaint_one(
    cv2: Any, flag: int, radius: int, pixels: NDArray[np.uint8], holes: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    if holes.all() or not holes.any():
        return pixels
    # OpenCV takes three channels or one.
    parts = [pixels] if pixels.shape[2] == 3 else np.split(pixels, pixels.shape[2], axis=2)
    mask = holes.astype(np.uint8)
    inpainted = [cv2.inpaint(np.ascontiguousarray(part), mask, radius, flag) for part in parts]
    return np.dstack(inpainted)
