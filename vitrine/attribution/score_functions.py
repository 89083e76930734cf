"""Target functions for segmentation and detection: scores of a region's class, and of a detected box."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

from vitrine.backbones.outputs import OutputChoice, chosen_part


class RegionScore:
    """The mean logit of a class over a region, of models of semantic segmentation.

    Args:
        class_index: of the explained class.
        region: (H, W) of 0 and 1 or booleans, at the size of the map of logits; the whole image without it.
        output: which part of the model's output holds the (B, n, H, W) logits; found by itself for torchvision's and
            Hugging Face's models.

    Example:
        >>> logits = torch.zeros(1, 2, 4, 4)
        >>> logits[0, 1, :2] = 3
        >>> upper = torch.zeros(4, 4)
        >>> upper[:2] = 1
        >>> RegionScore(1)({"out": logits}).item(), RegionScore(1, upper)({"out": logits}).item()
        (1.5, 3.0)
    """

    def __init__(self, class_index: int, region: Tensor | None = None, output: OutputChoice | None = None) -> None:
        if region is not None and not bool(region.any()):
            raise ValueError("region has no pixels; give 1 where the explained pixels are.")
        self.class_index = class_index
        self.region = region
        self.output = output

    def __call__(self, output: Any) -> Tensor:
        """(B,) scores of an output.

        Raises:
            ValueError: where it holds no maps of logits of that size and class.
        """
        logits = chosen_part(output, self.output)
        if not isinstance(logits, Tensor) or logits.ndim != 4 or not 0 <= self.class_index < logits.shape[1]:
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(f"RegionScore needs maps of logits (B, n, H, W) with class {self.class_index}, got {got}.")
        maps = logits[:, self.class_index]
        if self.region is None:
            return maps.mean(dim=(1, 2))
        if self.region.shape != maps.shape[1:]:
            raise ValueError(f"region is {tuple(self.region.shape)}, and the maps of logits {tuple(maps.shape[1:])}.")
        return maps[:, self.region.to(maps.device) > 0].mean(dim=1)


class DetectionScore:
    """How well a model of detection finds a box: the largest score × overlap of its detections of a label.

    Overlap is the intersection over union, as in D-RISE (Petsiuk et al. 2021); the gradient goes through scores and boxes.
    For an image without a detection of the label the score is 0.

    Args:
        label: of the explained object, as the model numbers labels.
        box: x0, y0, x1, y1 in pixels of the input; without it the highest score of the label counts.

    Example:
        >>> found = {"boxes": torch.tensor([[0, 0, 4, 4.0]]), "labels": torch.tensor([3]), "scores": torch.tensor([0.8])}
        >>> DetectionScore(3, (0, 0, 4, 2))([found]).item()
        0.4000000059604645
    """

    def __init__(self, label: int, box: Sequence[float] | None = None) -> None:
        self.label = label
        self.box = box

    def __call__(self, output: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """(B,) scores of an output: for each image ``boxes`` (N, 4), ``labels`` (N,) and ``scores`` (N,).

        Raises:
            ValueError: where it is another one.
        """
        names = {"boxes", "labels", "scores"}
        if not isinstance(output, Sequence) or not all(
            isinstance(one, Mapping) and names <= set(one) for one in output
        ):
            raise ValueError(
                "DetectionScore needs a list of dicts with boxes, labels and scores, as torchvision's models of detection"
                f" give them, got {type(output).__name__}."
            )
        return torch.stack([self._of_image(found) for found in output])

    def _of_image(self, found: Mapping[str, Tensor]) -> Tensor:
        scores = found["scores"]
        if self.box is not None:
            wanted = torch.as_tensor(self.box, dtype=found["boxes"].dtype, device=found["boxes"].device)
            scores = scores * box_iou(found["boxes"], wanted[None])[:, 0]
        scores = scores[found["labels"] == self.label]
        return scores.max() if len(scores) else scores.sum()  # a zero that the gradient leads back from
