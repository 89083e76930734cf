"""What a class loses as patches cover what its heatmap shows (section 4.2 of Oramas et al., ICLR 2019)."""

import hashlib
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric

from vitrine.backbones.guard import eval_guard

SHARES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)


def box_occlusion(
    model: nn.Module,
    images: Tensor,
    heatmaps: Tensor,
    targets: Tensor,
    patch: int = 16,
    shares: Sequence[float] = SHARES,
    background: float | Tensor = 0.0,
    seed: int = 0,
    keys: Sequence[str] | None = None,
) -> Tensor:
    """Confidence in a class while more and more of the image is covered by patches drawn from a heatmap.

    The paper samples patches "from the distribution defined by the heatmap … up to covering the 30 % most relevant part of
    the image". Here the centres of patches are drawn one after the other, without replacement, with probabilities in
    proportion to the heatmap's positive part; pixels without one follow in random order. A constant map is thus covered at
    random. At each share the patches are laid that come first, as few as cover so much of the image.

    Args:
        model: maps (B, C, H, W) inputs to (B, n) logits.
        images: (B, C, H, W) as the model takes them.
        heatmaps: (B, H, W).
        targets: (B,) the classes.
        patch: side of a patch in pixels; one at the border is cut off there.
        shares: T shares of the image, 0 to 1.
        background: what covers, a number or a tensor that broadcasts to the images; 0 is the mean colour of normalised ones.
        seed: of the drawing.
        keys: B names of the images, by which each has a drawing of its own, whatever its batch; without them all images
            share one.

    Returns:
        (B, T) softmax probabilities; NaN for a heatmap with NaN or infinity in it.

    Raises:
        ValueError: for a patch below 1, shares outside 0 to 1, or heatmaps that do not fit the images.
    """
    if patch < 1 or not all(0 <= share <= 1 for share in shares):
        raise ValueError(f"patch must be 1 or more and shares from 0 to 1, got {patch} and {tuple(shares)}.")
    if heatmaps.shape != (len(images), *images.shape[2:]):
        raise ValueError(f"heatmaps must be {(len(images), *images.shape[2:])}, got {tuple(heatmaps.shape)}.")
    heatmaps, targets = heatmaps.detach().to(images.device), targets.to(images.device)
    covered_by = first_cover(drawing_order(heatmaps, seed, keys), patch)
    fill = torch.as_tensor(background, dtype=images.dtype, device=images.device)
    columns = []
    with eval_guard(model), torch.no_grad():
        for share in shares:
            covered = images.where(~covered_area(covered_by, share)[:, None], fill)
            probabilities = model(covered).float().softmax(dim=1)
            columns.append(probabilities.gather(1, targets[:, None]))
    finite = heatmaps.flatten(1).isfinite().all(dim=1)
    return torch.cat(columns, dim=1).masked_fill(~finite[:, None], torch.nan)


def drawing_order(heatmaps: Tensor, seed: int, keys: Sequence[str] | None = None) -> Tensor:
    """(B, H, W) int64: the place of each pixel in the order in which patch centres are drawn, 0 first."""
    weights = heatmaps.flatten(1).double().nan_to_num(0, 0, 0).clamp(min=0)
    weights = weights / weights.amax(dim=1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
    names = [""] * len(weights) if keys is None else keys
    noise = torch.stack([_exponential(len(row), seed, key) for row, key in zip(weights, names, strict=True)])
    # Exponential clocks of these rates ring in the order of draws without replacement (Efraimidis and Spirakis 2006).
    # Those of rate 0 never do: a stable sort leaves them in the order of the noise alone.
    at_random = noise.argsort(dim=1).to(weights.device)
    times = (noise.to(weights.device) / weights).gather(1, at_random)
    pixels = at_random.gather(1, times.argsort(dim=1, stable=True))
    places = torch.arange(weights.shape[1], device=weights.device).expand_as(pixels)
    return torch.empty_like(pixels).scatter_(1, pixels, places).reshape(heatmaps.shape)


def first_cover(order: Tensor, patch: int) -> Tensor:
    """(B, H, W): the place in the order of the first centre whose patch covers each pixel.

    A patch around row y reaches from y − ⌊patch / 2⌋ on, ``patch`` rows down; columns alike.
    """
    before, behind = (patch - 1) // 2, patch // 2
    padded = F.pad(-order.double()[:, None], (before, behind, before, behind), value=-torch.inf)
    return -F.max_pool2d(padded, patch, stride=1)[:, 0]


def covered_area(covered_by: Tensor, share: float) -> Tensor:
    """(B, H, W) bool: what the fewest patches cover that cover such a share of the image."""
    flat = covered_by.flatten(1)
    needed = math.ceil(round(share * flat.shape[1], 6))  # 0.1 · 30 is a little more than 3
    if needed == 0:
        return torch.zeros_like(covered_by, dtype=torch.bool)
    last = flat.sort(dim=1).values[:, needed - 1]
    return (flat <= last[:, None]).reshape(covered_by.shape)


def _exponential(count: int, seed: int, key: str) -> Tensor:
    """(count,) float64 of rate 1 that depend on the seed and an image's key alone."""
    digest = hashlib.sha256(f"{seed}/{key}".encode("utf-8", "surrogateescape")).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.empty(count, dtype=torch.float64).exponential_(generator=generator)


class BoxOcclusion(Metric):
    """Mean drop of a class's confidence under `box_occlusion`.

    Args:
        shares: The T shares of the image; the first is 0.
    """

    full_state_update = False
    higher_is_better = True
    confidence: Tensor
    measured: Tensor
    degenerate: Tensor

    def __init__(self, shares: Sequence[float] = SHARES) -> None:
        super().__init__()
        if len(shares) < 2 or shares[0] != 0:
            raise ValueError(f"shares must begin with 0 and have a second one, got {tuple(shares)}.")
        for name, shape in (("confidence", (len(shares),)), ("measured", ()), ("degenerate", ())):
            self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, confidence: Tensor) -> None:
        """Takes in the (B, T) that `box_occlusion` gives; rows with NaN are left out and counted."""
        measured = ~confidence.isnan().any(dim=1)
        self.confidence += confidence[measured].double().sum(dim=0)
        self.measured += measured.sum()
        self.degenerate += (~measured).sum()

    def compute(self) -> dict[str, Tensor]:
        """The mean over images and shares above 0 of the drop, that at the last share, and how many maps were degenerate."""
        curve = self.confidence / self.measured
        return {
            "box_occlusion/drop": (curve[0] - curve[1:].mean()).float(),
            "box_occlusion/last_drop": (curve[0] - curve[-1]).float(),
            "box_occlusion/degenerate": self.degenerate.float(),
        }
