"""Images of which only what their heatmaps show is left (section 4.2 and appendix I.2 of Qi, Khorram and Li, 2018)."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import v2

from vitrine.core.explanation import Explanation
from vitrine.core.image_ops import display_blur
from vitrine.data.preprocessing import Preprocessing

FILLS = ("inpaint", "black")
METHODS = ("telea", "navier_stokes")


def kept_pixels(heatmaps: Tensor, gamma: float) -> Tensor:
    """Where any heatmap reaches γ of its own highest response: hₖ ≥ γ · max hₖ for a k.

    A heatmap without positive value keeps nothing, nor does one with NaN or infinity in it. At γ = 0 zeros are kept and
    negative values are not.

    Args:
        heatmaps: (B, K, H, W), of any float type and scale.
        gamma: γ, 0 or more; above 1 nothing is kept.

    Returns:
        (B, H, W) bool.
    """
    values = heatmaps.detach().double()
    highest = values.amax(dim=(2, 3), keepdim=True)
    speaks = values.isfinite().all(dim=3, keepdim=True).all(dim=2, keepdim=True) & (highest > 0)
    return ((values >= gamma * highest) & speaks).any(dim=1)


def speaking_maps(explanation: Explanation, sigma: float | None = None) -> Tensor:
    """(B, K, H, W): an explanation's heatmaps as they are shown, for `kept_pixels`.

    Each is scaled by its largest absolute value and blurred: what excitation backprop gives is speckled from pixel to pixel.
    Those that are not valid are zero.

    Args:
        explanation: of B images.
        sigma: of the Gaussian in pixels; 2 % of the longer side without it, as in panels, and 0 for none.
    """
    maps = explanation.heatmaps.detach().float().where(explanation.valid[..., None, None], 0)
    sizes = maps.abs().amax(dim=(2, 3), keepdim=True)
    scaled = maps / sizes.where(sizes != 0, 1)
    return display_blur(scaled, sigma)


def mask_images(
    images: Tensor, kept: Tensor, fill: str = "inpaint", method: str = "navier_stokes", radius: int = 3
) -> Tensor:
    """Paints black what is not kept, and recovers it from what is.

    Kept pixels stay as they are, bit for bit; the others do not depend on what was there. An image of which nothing is kept
    is black. Inpainting is OpenCV's, on 8 bits a channel, and gives the same on every run. Its Telea drifts with the distance
    from what is kept, by up to some 20 of 255 levels over a whole image; its Navier-Stokes gives a constant image back.

    Args:
        images: (B, 3, H, W) RGB, uint8 or float in [0, 1].
        kept: (B, H, W) bool.
        fill: ``inpaint``, or ``black``, which leaves it at that.
        method: ``telea`` (fast marching, Telea 2004) or ``navier_stokes`` (Bertalmio et al. 2001).
        radius: of the neighbourhood from which a pixel is recovered, in pixels, from 1 to 100.

    Returns:
        (B, 3, H, W) of the images' type, on their device.

    Raises:
        ValueError: for unknown options, or a mask that does not fit the images.
        ModuleNotFoundError: where OpenCV is not installed and is asked for.
    """
    check_filling(fill, method, radius)
    if kept.shape != (len(images), *images.shape[2:]):
        raise ValueError(f"kept must be {(len(images), *images.shape[2:])}, got {tuple(kept.shape)}.")
    there = kept.to(images.device)[:, None]
    # Before inpainting too: at the image's border OpenCV reads pixels that it is to recover.
    black = images.where(there, 0)
    if fill == "black" or not len(images):
        return black
    scale = 255 if images.is_floating_point() else 1
    pixels = (black.float() * scale).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    recovered = torch.from_numpy(_inpainted(pixels, ~kept.cpu().numpy(), method, radius)).permute(0, 3, 1, 2)
    return images.where(there, (recovered.to(images.device) / scale).to(images.dtype))


def masked_inputs(
    images: Tensor,
    kept: Tensor,
    preprocessing: Preprocessing,
    fill: str = "inpaint",
    method: str = "navier_stokes",
    radius: int = 3,
) -> Tensor:
    """`mask_images` for normalised images: (B, 3, H, W) as the backbone takes them; kept pixels stay, bit for bit."""
    filled = mask_images(preprocessing.denormalize(images.float()), kept, fill, method, radius)
    normalised = v2.functional.normalize(filled, list(preprocessing.mean), list(preprocessing.std))
    return images.where(kept.to(images.device)[:, None], normalised.to(images.dtype))


def check_filling(fill: str, method: str, radius: int) -> None:
    """Raises ValueError for options that `mask_images` does not know."""
    for name, value, known in (("fill", fill, FILLS), ("method", method, METHODS)):
        if value not in known:
            raise ValueError(f"{name} {value!r} of masked images is unknown; choose one of {', '.join(known)}.")
    if not 1 <= radius <= 100:
        raise ValueError(f"radius of masked images must be from 1 to 100 pixels, got {radius}.")


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


def _inpainted(pixels: NDArray[np.uint8], holes: NDArray[np.bool_], method: str, radius: int) -> NDArray[np.uint8]:
    """(B, H, W, 3) uint8: the images with their (B, H, W) holes filled, each by itself."""
    cv2 = opencv()
    flag = {"telea": cv2.INPAINT_TELEA, "navier_stokes": cv2.INPAINT_NS}[method]
    # OpenCV lets go of the interpreter, so that as many images are recovered at once as torch may use cores.
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        recovered: Sequence[NDArray[np.uint8]] = list(
            pool.map(partial(_inpainted_one, cv2, flag, radius), pixels, holes)
        )
    return np.stack(recovered)


def _inpainted_one(
    cv2: Any, flag: int, radius: int, pixels: NDArray[np.uint8], holes: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    if holes.all() or not holes.any():
        return pixels
    filled: NDArray[np.uint8] = cv2.inpaint(np.ascontiguousarray(pixels), holes.astype(np.uint8), radius, flag)
    return filled
