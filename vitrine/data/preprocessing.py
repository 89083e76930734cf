"""How images are made ready for a backbone, with their annotation, and how they are shown again."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from vitrine.data.shards.schema import BOX_ENTRIES

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """Resizing, cropping and normalising; boxes, masks and key points of a sample follow its image.

    Args:
        size: side of the square input in pixels.
        resize: the short side before the centre is cropped; null squashes the whole image, so that nothing is cut off.
        mean: of each channel, in [0, 1].
        std: of each channel, in [0, 1].
    """

    size: int = 224
    resize: int | None = 256
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"preprocessing.size is {self.size}; give the side of the input in pixels.")
        if self.resize is not None and self.resize < self.size:
            raise ValueError(
                f"preprocessing.resize is {self.resize}, less than size {self.size}; give at least as much, or null."
            )
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(
                f"preprocessing.mean is {self.mean} and std {self.std}; give one of each channel, std above 0."
            )

    def __call__(self, image: Image.Image) -> Tensor:
        """(3, H, W) normalised input for one picture."""
        prepared: Tensor = self.sample({"image": tv_tensors.Image(image.convert("RGB"))})["image"]
        return prepared

    def sample(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Prepares a dict of tv_tensors under ``image`` and other names; see `finished` for what comes out."""
        return self.finished(self._geometry()(sample))

    def augmented(self, sample: dict[str, Any]) -> dict[str, Any]:
        """The same with a random crop and a random flip; left and right parts keep their names when flipped."""
        crop = v2.RandomResizedCrop(self.size, scale=(0.4, 1.0), antialias=True)
        return self.finished(v2.Compose([crop, v2.RandomHorizontalFlip()])(sample))

    def finished(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Normalises the image; drops boxes that were cut away, with their classes; cut-off parts become invisible."""
        image = v2.functional.to_dtype(sample["image"], torch.float32, scale=True)
        done = dict(sample, image=v2.functional.normalize(image, list(self.mean), list(self.std)).as_subclass(Tensor))
        if "boxes" in sample:
            boxes = sample["boxes"].as_subclass(Tensor).float().clamp(0, self.size)
            inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
            done["boxes"] = boxes[inside]
            done.update({name: sample[name][inside] for name in BOX_ENTRIES if name in sample})
        if "points" in sample:
            points = done.pop("points").as_subclass(Tensor)
            done["parts"] = _seen(points, done.pop("visible"), self.size)
        for name in ("mask", "objects"):
            if name in sample:
                done[name] = sample[name].as_subclass(Tensor)
        return done

    def denormalize(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) inputs as colours in [0, 1]."""
        mean, std = (images.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (images * std + mean).clamp(0, 1)

    def to_dict(self) -> dict[str, Any]:
        """JSON types; `from_dict` reads them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, entries: dict[str, Any]) -> "Preprocessing":
        """Reads what `to_dict` gave."""
        return cls(**{**entries, "mean": tuple(entries["mean"]), "std": tuple(entries["std"])})

    @property
    def key(self) -> str:
        """Text that differs whenever the inputs could."""
        return json.dumps(self.to_dict(), sort_keys=True)

    def _geometry(self) -> v2.Transform:
        if self.resize is None:
            return v2.Resize((self.size, self.size), antialias=True)
        return v2.Compose([v2.Resize(self.resize, antialias=True), v2.CenterCrop(self.size)])


def _seen(points: Tensor, visible: Tensor, size: int) -> Tensor:
    """(P, 3): x, y, and whether the part is visible and inside."""
    points = points.float().reshape(-1, 2)
    inside = ((points >= 0) & (points < size)).all(dim=1)
    return torch.cat([points, (visible.bool() & inside).float()[:, None]], dim=1)
