"""Box occlusion: confidence lost as patches cover what the heatmap shows (section 4.2 of Oramas et al., ICLR 2019)."""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric

from vitrine.backbones.guard import eval_guard
from vitrine.backbones.outputs import class_logits
from vitrine.core.key_noise import key_generator
from vitrine.core.options import Count, OptionError, Share, checked
from vitrine.core.probabilities import class_probabilities
from vitrine.metrics.base import Curve
from vitrine.metrics.functional.checks import checked_classes, checked_images, checked_maps, checked_tensor

SHARES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)


@checked
def box_occlusion(
    model: nn.Module,
    images: Tensor,
    heatmaps: Tensor,
    targets: Tensor,
    patch_size: Count = 16,
    shares: Sequence[Share] = SHARES,
    background: float | Tensor = 0.0,
    seed: int = 0,
    keys: Sequence[str] | None = None,
    *,
    multi_label: bool = False,
) -> Tensor:
    """Confidence in a class while more and more of the image is covered by patches sampled from a heatmap.

    The paper samples patches "from the distribution defined by the heatmap … up to covering the 30 % most relevant part of
    the image". Here patch centres are sampled one after the other, without replacement, with probabilities proportional to
    the heatmap's positive part; pixels without one follow in random order, so a constant map is covered at random. At each
    share, as few of the first patches are laid as cover that share of the image.

    Args:
        model: maps (B, C, H, W) inputs to (B, n) logits.
        images: (B, C, H, W), normalised for the model.
        heatmaps: (B, H, W).
        targets: (B,) classes.
        patch_size: side of a patch in pixels; patches are cut off at the border.
        shares: T shares of the image, in [0, 1].
        background: values of covered pixels, a number or a tensor that broadcasts to the images; 0 is the mean colour of
            normalised images.
        seed: of the sampling.
        keys: B names of the images, so that each is sampled independently, whatever its batch; without them all images
            share one sequence of random numbers.
        multi_label: whether an image may have several classes, as in `class_probabilities`.

    Returns:
        (B, T) probabilities; NaN for a heatmap with NaN or infinity.

    Raises:
        OptionError: for a patch size below 1, or shares outside [0, 1].
        ValueError: for heatmaps of another size than the images, images that are not finite floats, and classes that are not
            one integer an image.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 10))
        >>> images, targets = torch.rand(2, 3, 8, 8), torch.tensor([3, 7])
        >>> box_occlusion(model, images, torch.rand(2, 8, 8), targets, patch_size=2, shares=(0, 0.1, 0.3)).shape
        torch.Size([2, 3])
    """
    images = checked_images(images, heatmaps, "heatmaps")
    targets = checked_classes(targets, len(images)).long().to(images.device)
    heatmaps = checked_maps(heatmaps, "heatmaps").detach().to(images.device)
    first_patch = first_cover(sampling_order(heatmaps, seed, keys), patch_size)
    fill = torch.as_tensor(background, dtype=images.dtype, device=images.device)
    confidences = []
    with eval_guard(model), torch.no_grad():
        for share in shares:
            occluded = images.where(~covered_area(first_patch, share)[:, None], fill)
            logits = class_logits(model(occluded), len(occluded))
            probabilities = class_probabilities(logits, multi_label=multi_label)
            checked_classes(targets, None, probabilities.shape[1])
            confidences.append(probabilities.gather(1, targets[:, None]))
    finite = heatmaps.flatten(1).isfinite().all(dim=1)
    return torch.cat(confidences, dim=1).masked_fill(~finite[:, None], torch.nan)


def sampling_order(heatmaps: Tensor, seed: int, keys: Sequence[str] | None = None) -> Tensor:
    """(B, H, W) int64: the position of each pixel in the sequence of sampled patch centres, 0 first."""
    weights = heatmaps.flatten(1).double().nan_to_num(0, 0, 0).clamp(min=0)
    weights = weights / weights.amax(dim=1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
    names = [""] * len(weights) if keys is None else keys
    noise = torch.zeros(weights.shape, dtype=torch.float64)
    for image, key in zip(range(len(weights)), names, strict=True):
        noise[image].exponential_(generator=key_generator(seed, key))
    # Exponential variables of these rates sort like samples without replacement (Efraimidis and Spirakis 2006). Those of
    # rate 0 are infinite: a stable sort leaves them in the order of the noise alone.
    random_order = noise.argsort(dim=1).to(weights.device)
    times = (noise.to(weights.device) / weights).gather(1, random_order)
    pixels = random_order.gather(1, times.argsort(dim=1, stable=True))
    positions = torch.arange(weights.shape[1], device=weights.device).expand_as(pixels)
    return torch.empty_like(pixels).scatter_(1, pixels, positions).reshape(heatmaps.shape)


def first_cover(order: Tensor, patch_size: int) -> Tensor:
    """(B, H, W): the position in the order of the first patch that covers each pixel.

    A patch with its centre in row y covers ``patch_size`` rows from y − ⌊patch_size / 2⌋ on; columns likewise.
    """
    before, after = (patch_size - 1) // 2, patch_size // 2
    padded = F.pad(-order.double()[:, None], (before, after, before, after), value=-torch.inf)
    return -F.max_pool2d(padded, patch_size, stride=1)[:, 0]


def covered_area(first_patch: Tensor, share: float) -> Tensor:
    """(B, H, W) bool: the area of the fewest first patches that cover a share of the image."""
    flat = first_patch.flatten(1)
    num_pixels = math.ceil(round(share * flat.shape[1], 6))  # 0.1 · 30 is slightly more than 3 in floating point
    if num_pixels == 0:
        return torch.zeros_like(first_patch, dtype=torch.bool)
    last = flat.sort(dim=1).values[:, num_pixels - 1]
    return (flat <= last[:, None]).reshape(first_patch.shape)


class BoxOcclusion(Metric):
    """Mean drop of a class's confidence under `box_occlusion`.

    Args:
        shares: T shares of the image, two or more, in [0, 1]; the first is 0.

    Raises:
        OptionError: for other shares.

    Example:
        >>> metric = BoxOcclusion(shares=(0, 0.1, 0.2))
        >>> metric.update(torch.tensor([[0.9, 0.6, 0.4], [0.7, 0.6, 0.2]]))  # (B, T)
        >>> round(metric.compute()["box_occlusion/last_drop"].item(), 4)
        0.5
    """

    full_state_update = False
    higher_is_better = True
    confidence: Tensor
    measured: Tensor
    degenerate: Tensor

    @checked
    def __init__(self, shares: Sequence[Share] = SHARES) -> None:
        super().__init__()
        if len(shares) < 2 or shares[0] != 0:
            raise OptionError("shares", tuple(shares), "two or more numbers from 0 to 1, of which the first is 0")
        for name, shape in (("confidence", (len(shares),)), ("measured", ()), ("degenerate", ())):
            self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.shares = tuple(shares)
        self.row_values: Mapping[str, Tensor] = {}
        """Drops of the last batch's images by figure, (B,) float64: NaN of an image that is left out."""

    def update(self, confidence: Tensor) -> None:
        """Updates the state with (B, T) confidences from `box_occlusion`; images with NaN are left out and counted.

        Raises:
            ValueError: for another number of shares than T.
        """
        if checked_tensor(confidence, "confidence", "B, T").shape[1:] != self.confidence.shape:
            raise ValueError(f"confidence has the shape {tuple(confidence.shape)}; give (B, {len(self.confidence)}).")
        measured = ~confidence.isnan().any(dim=1)
        drops = confidence[:, :1].double() - confidence[:, 1:].double()
        self.row_values = {"box_occlusion/drop": drops.mean(dim=1), "box_occlusion/last_drop": drops[:, -1]}
        self.confidence += confidence[measured].double().sum(dim=0)
        self.measured += measured.sum()
        self.degenerate += (~measured).sum()

    def compute(self) -> dict[str, Tensor]:
        """The drop averaged over images and shares above 0, that at the last share, and the number of degenerate maps."""
        curve = self.confidence / self.measured
        return {
            "box_occlusion/drop": (curve[0] - curve[1:].mean()).float(),
            "box_occlusion/last_drop": (curve[0] - curve[-1]).float(),
            "box_occlusion/degenerate": self.degenerate.float(),
        }

    def curves(self) -> Mapping[str, Curve]:
        """The mean confidence at each covered share, over all batches of all ranks where states are synchronised."""
        confidence = (self.confidence / self.measured).tolist()
        return {"box_occlusion": Curve(self.shares, confidence, "covered share", "confidence in the class")}
