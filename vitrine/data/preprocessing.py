"""Preprocessing: resizing, cropping and normalising images with their annotations, and undoing the normalisation."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F
from typing_extensions import override

from vitrine.core.options import Count, OptionError, Options, Positive, Range
from vitrine.data.colours import NUM_CHANNELS, Mode, to_mode
from vitrine.data.normalization import normalized
from vitrine.data.orientation import upright
from vitrine.data.shards.schema import BOX_ENTRIES
from vitrine.data.source_windows import corner_points, shown_window, source_entries, with_source

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
Finite = Annotated[float, Range()]
_LONGEST = 32
"""Times of its short side that the long side of an image is resized at."""


@dataclass(frozen=True)
class Preprocessing(Options):
    """Resizes, crops and normalises images; boxes, masks and key points of a sample are transformed with its image.

    Args:
        size: side of the square input in pixels.
        resize: short side in pixels before the centre crop, ``size`` or more; null resizes the whole image to the square, so
            that nothing is cut off.
        mean: of each channel of images in [0, 1].
        std: of each channel of images in [0, 1], above 0.
        mode: colours of the input: RGB, L (one channel of grey) or RGBA (with opacity); in RGB and L transparency is dropped.

    Raises:
        OptionError: for sizes below 1, a ``resize`` below ``size``, NaN, infinity, or a ``std`` that is not above 0, and
            another number of means or stds than ``mode`` has channels.

    Example:
        >>> preprocessing = Preprocessing(size=224, resize=256)
        >>> inputs = preprocessing(Image.new("RGB", (640, 480)))[None]
        >>> inputs.shape, preprocessing.denormalize(inputs).shape
        (torch.Size([1, 3, 224, 224]), torch.Size([1, 3, 224, 224]))
        >>> Preprocessing.from_dict(preprocessing.to_dict()) == preprocessing
        True
    """

    size: Count = 224
    resize: Count | None = 256
    mean: tuple[Finite, ...] = IMAGENET_MEAN
    std: tuple[Positive, ...] = IMAGENET_STD
    mode: Mode = "RGB"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resize is not None and self.resize < self.size:
            raise OptionError("resize", self.resize, f"the size {self.size} or more, or null")
        for name in ("mean", "std"):
            values, count = getattr(self, name), NUM_CHANNELS[self.mode]
            if len(values) != count:
                raise OptionError(
                    name, values, f"{count} number{'s' if count > 1 else ''}, as many as {self.mode} has channels"
                )

    def __call__(self, image: Image.Image) -> Tensor:
        """(C, H, W) normalised input for one image of any colour mode: upright, without transparency.

        Raises:
            ValueError: where the range of its values is unknown, see `vitrine.data.colours.to_rgb`.
        """
        colours = to_mode(upright(image), self.mode, str(getattr(image, "filename", "")))
        prepared: Tensor = self.sample({"image": tv_tensors.Image(colours)})["image"]
        return prepared

    def sample(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Transforms a sample, a dict of tv_tensors with ``image`` and its annotations; `finished` describes the result."""
        return self.normalized(self.placed(sample))

    def placed(self, sample: dict[str, Any]) -> dict[str, Any]:
        """As `sample`, with the image still in 8 bits, so that a batch is normalised at once."""
        return self._annotated(self._resized(with_source(sample)))

    def augmented(self, sample: dict[str, Any]) -> dict[str, Any]:
        """As `sample`, with a random crop and horizontal flip; names of left and right parts are not swapped by a flip."""
        return self.normalized(self.placed_at_random(sample))

    def placed_at_random(self, sample: dict[str, Any]) -> dict[str, Any]:
        """As `augmented`, with the image still in 8 bits."""
        crop = v2.RandomResizedCrop(self.size, scale=(0.4, 1.0), antialias=True)
        return self._annotated(v2.Compose([crop, v2.RandomHorizontalFlip()])(with_source(sample)))

    def finished(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Normalises the image; drops boxes outside of it, with their classes; parts outside of it become invisible.

        What `sample` and `augmented` give has besides, of a sample with boxes, the entries ``source_…`` of `Batch`.
        """
        return self.normalized(self._annotated(sample))

    def normalized(self, entries: dict[str, Any]) -> dict[str, Any]:
        """A sample, or a batch, with its ``image`` and ``counterfactuals`` normalised; see `vitrine.data.normalization`."""
        images: dict[str, Any] = {
            name: normalized(entries[name], self.mean, self.std)
            for name in ("image", "counterfactuals")
            if name in entries
        }
        return {**entries, **images}

    def _annotated(self, sample: dict[str, Any]) -> dict[str, Any]:
        result = dict(sample)
        if "boxes" in sample:
            boxes = sample["boxes"].as_subclass(Tensor).float().clamp(0, self.size)
            inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
            result["boxes"] = boxes[inside]
            result.update({name: sample[name][inside] for name in BOX_ENTRIES if name in sample})
        if "source_size" in sample:
            result.update(source_entries(result, self.size))
        if "points" in sample:
            points = result.pop("points").as_subclass(Tensor)
            result["parts"] = _visible_parts(points, result.pop("visible"), self.size)
        for name in ("image", "counterfactuals", "mask", "objects"):
            if name in sample:
                result[name] = sample[name].as_subclass(Tensor)
        return result

    def denormalize(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images in [0, 1], from normalised inputs."""
        mean, std = (images.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (images * std + mean).clamp(0, 1)

    def source_window(self, height: int, width: int) -> tuple[float, float, float, float]:
        """The part of an upright image that its input shows: x0, y0, x1, y1, the input's edges in pixels of the image.

        Args:
            height: of the image in pixels.
            width: of the image in pixels.

        Example:
            >>> Preprocessing(size=100, resize=200).source_window(200, 400)
            (150.0, 50.0, 250.0, 150.0)
        """
        corners = self._geometry(corner_points(height, width), height, width)
        x0, y0, x1, y1 = shown_window(corners, torch.tensor([height, width]), self.size).tolist()
        return x0, y0, x1, y1

    @override
    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Self:
        """Reads the result of `to_dict`; JSON has lists in place of tuples."""
        return super().from_dict({k: tuple(v) if isinstance(v, list) else v for k, v in entries.items()})

    @property
    def key(self) -> str:
        """Cache key: a text that differs whenever the inputs could differ."""
        return json.dumps(self.to_dict(), sort_keys=True)

    def _resized(self, sample: dict[str, Any]) -> dict[str, Any]:
        """The image and what is placed on it, resized and cropped."""
        height, width = sample["image"].shape[-2:]
        is_placed = {name: isinstance(entry, tv_tensors.TVTensor) for name, entry in sample.items()}
        return {
            name: self._geometry(entry, height, width) if is_placed[name] else entry for name, entry in sample.items()
        }

    def _geometry(self, entry: Tensor, height: int, width: int) -> Tensor:
        if self.resize is None:
            whole: Tensor = F.resize(entry, [self.size, self.size], antialias=True)
            return whole
        longest = _LONGEST * min(height, width)
        if max(height, width) > longest:  # the centre crop keeps the middle, so that what is resized stays small
            entry = F.center_crop(entry, [min(height, longest), min(width, longest)])
        cropped: Tensor = F.center_crop(F.resize(entry, [self.resize], antialias=True), [self.size, self.size])
        return cropped


def _visible_parts(points: Tensor, visible: Tensor, size: int) -> Tensor:
    """(P, 3): x, y, and whether the part is visible and inside the image."""
    points = points.float().reshape(-1, 2)
    inside = ((points >= 0) & (points < size)).all(dim=1)
    return torch.cat([points, (visible.bool() & inside).float()[:, None]], dim=1)
