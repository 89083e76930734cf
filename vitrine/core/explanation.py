"""What an explainer says about a batch of images."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from PIL import Image
from torch import Tensor

from vitrine.core.explained_pictures import ExplainedPictures
from vitrine.core.image_ops import with_exact_constants
from vitrine.core.probabilities import class_probabilities

Aggregation = Literal["sum", "maximum"]


@dataclass(frozen=True, repr=False)
class Explanation:
    """K heatmaps an image, what each contributes, and the prediction that they explain.

    The K heatmaps are x-features (SRAE), the strongest layer/filter pairs (μ-Lasso) or a single mask (inversion).

    Example:
        >>> maps, scores, classes = torch.rand(2, 3, 8, 8), torch.rand(2, 3), torch.tensor([1, 0])
        >>> labels = [["beak", "wing", "tail"]] * 2
        >>> explanation = Explanation(maps, scores, labels, classes, classes, torch.rand(2, 4))
        >>> len(explanation), explanation.aggregate().shape
        (2, torch.Size([2, 1, 8, 8]))
        >>> explanation[:1].valid_heatmaps(0)
        [0, 1, 2]
        >>> explanation
        Explanation(2 images, 3 heatmaps each of 8 x 8, predicted [1, 0], explained [1, 0])
    """

    heatmaps: Tensor
    """(B, K, H, W) float, at the images' size, neither clamped nor rescaled."""
    scores: Tensor
    """(B, K) float: contribution of each heatmap to the explained logit, such as vᵢEᵢ."""
    labels: Sequence[Sequence[str]]
    """B × K names, one a heatmap."""
    prediction: Tensor
    """(B,) int64: the class that the backbone predicts."""
    target: Tensor
    """(B,) int64: the class that is explained; the prediction unless another was asked for."""
    logits: Tensor
    """(B, C) float: the backbone's logits."""
    valid: Tensor = None  # type: ignore[assignment]  # replaced by all True below, whose shape is not known here
    """(B, K) bool: whether there is a k-th heatmap; False where an image has fewer than K, whose heatmap is zeros. All are
    valid where nothing is given."""
    logit_estimate: Tensor | None = None
    """(B, J) float: the explainer's own estimate of the logits of ``explained_classes``, where it makes one."""
    explained_classes: Tensor | None = None
    """(J,) int64: the classes that the columns of ``logit_estimate`` stand for."""
    class_scores: Tensor | None = None
    """(B, C) float: the explainer's own scores of all classes, estimates of their labels, where it makes any."""
    kinds: Sequence[Sequence[str]] | None = None
    """B × K kinds of the layers that the heatmaps come from (conv, pool, norm, linear), where they come from layers."""
    aggregation: Aggregation = "sum"
    """How `aggregate` joins the heatmaps: ``sum`` or ``maximum``."""
    multi_label: bool = False
    """Whether an image may have several classes, so that each logit has a probability of its own."""
    pictures: ExplainedPictures | None = None
    """The B pictures, where pictures were explained or `with_pictures` gave them; what `save`, `show` and notebooks draw."""

    def __post_init__(self) -> None:
        batch, count = self.scores.shape
        if self.heatmaps.ndim != 4 or self.heatmaps.shape[:2] != (batch, count):
            raise ValueError(
                f"heatmaps must be (B, K, H, W) with scores (B, K), got {tuple(self.heatmaps.shape)} and {(batch, count)}"
            )
        if self.valid is None:
            object.__setattr__(self, "valid", torch.ones(batch, count, dtype=torch.bool, device=self.scores.device))
        if self.valid.shape != (batch, count) or self.valid.dtype != torch.bool:
            raise ValueError(
                f"valid must be bool of shape {(batch, count)}, got {self.valid.dtype} of {tuple(self.valid.shape)}"
            )
        if self.aggregation not in get_args(Aggregation):
            raise ValueError(
                f"aggregation {self.aggregation!r} is unknown; choose one of {', '.join(get_args(Aggregation))}."
            )

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        count, _, height, width = self.heatmaps.shape
        maps = (
            f"{self.heatmaps.shape[1]} heatmap{'s' if self.heatmaps.shape[1] != 1 else ''} each of {height} x {width}"
        )
        classes = f"predicted {_shortened(self.prediction)}, explained {_shortened(self.target)}"
        return f"{type(self).__name__}({count} image{'s' if count != 1 else ''}, {maps}, {classes})"

    def _repr_html_(self) -> str | None:
        """What notebooks show: the overlays and most probable classes of the first images, without a file beside."""
        if self.pictures is None:
            return None
        from vitrine.visualization.explanation_html import explanation_html  # noqa: PLC0415 - drawn above this package

        return explanation_html(self)

    def with_pictures(self, images: Tensor, *, classes: Sequence[str] = ()) -> "Explanation":
        """The same explanation with the images that `save`, `show` and notebooks draw.

        Args:
            images: (B, 3, H, W) float in [0, 1], at the heatmaps' size, such as `Preprocessing.denormalize` gives.
            classes: names of the logits.

        Raises:
            ValueError: where they do not fit the heatmaps.
        """
        from vitrine.visualization.explanation_pictures import pictures_of_tensor  # noqa: PLC0415 - likewise

        return replace(self, pictures=pictures_of_tensor(images, self, classes))

    def panel(self, cell: int = 240) -> Image.Image:
        """One picture of all: a row an image, with its prediction and heatmaps.

        Args:
            cell: longer side of each picture in pixels.

        Raises:
            ValueError: where the explanation has no pictures, see `with_pictures`.
        """
        from vitrine.visualization.explanation_pictures import explanation_panel  # noqa: PLC0415 - likewise

        return explanation_panel(self, cell)

    def show(self, cell: int = 240) -> None:
        """Shows the `panel`: below the cell of a notebook, else in the desktop's viewer of pictures."""
        from vitrine.visualization.explanation_pictures import show_picture  # noqa: PLC0415 - likewise

        show_picture(self.panel(cell))

    def save(self, path: str | Path) -> None:
        """Writes a picture or a folder.

        ``overlay.png`` (or ``.jpg``, ``.webp``) is the overlay at the picture's own size where there is one heatmap of one
        picture, and the `panel` otherwise. A path without a suffix is a folder: an overlay for each heatmap of each picture,
        and ``heatmaps.safetensors`` with the tensors.

        Raises:
            ValueError: where the explanation has no pictures, see `with_pictures`, or the suffix is another one.
            FileExistsError: where the folder holds other files.
        """
        from vitrine.visualization.explanation_pictures import save_explanation  # noqa: PLC0415 - likewise

        save_explanation(self, Path(path))

    def valid_heatmaps(self, row: int) -> list[int]:
        """Positions of the valid heatmaps of an image."""
        return [int(position) for position in self.valid[row].nonzero().flatten()]

    def __getitem__(self, index: slice) -> "Explanation":
        """The explanation of a slice of the batch."""
        return replace(
            self,
            heatmaps=self.heatmaps[index],
            scores=self.scores[index],
            labels=self.labels[index],
            prediction=self.prediction[index],
            target=self.target[index],
            logits=self.logits[index],
            valid=self.valid[index],
            logit_estimate=None if self.logit_estimate is None else self.logit_estimate[index],
            class_scores=None if self.class_scores is None else self.class_scores[index],
            kinds=None if self.kinds is None else self.kinds[index],
            pictures=None if self.pictures is None else self.pictures.part(index),
        )

    def to(self, device: torch.device | str) -> "Explanation":
        """The same explanation with its tensors on another device."""
        return replace(self, **{name: value.to(device) for name, value in self._tensors().items()})

    def cpu(self) -> "Explanation":
        """The same explanation with its tensors in main memory, detached; copied once, as all callbacks ask for it."""
        return self._in_main_memory

    @cached_property
    def _in_main_memory(self) -> "Explanation":
        tensors = self._tensors()
        if all(value.device.type == "cpu" and not value.requires_grad for value in tensors.values()):
            return self
        return replace(self, **{name: value.detach().cpu() for name, value in tensors.items()})

    def _tensors(self) -> dict[str, Any]:
        return {name: value for name, value in self.__getstate__().items() if isinstance(value, Tensor)}

    def __getstate__(self) -> dict[str, Any]:
        """What was given, without what was computed of it."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def probabilities(self) -> Tensor:
        """(B, C) of the classes, see `class_probabilities`."""
        return class_probabilities(self.logits, multi_label=self.multi_label)

    def aggregate(self) -> Tensor:
        """(B, 1, H, W): one map of the heatmaps that have a positive score.

        ``sum`` adds them up, each divided by its own sum of absolute values and weighted by its score; ``maximum`` takes the
        pixel-wise maximum, each divided by its own largest absolute value. A heatmap of zeros stays one, and NaN stays NaN.
        Rounding errors of a heatmap that is `constant` are left out, so that no difference of two of them is taken for
        structure. Without gradients it is computed once, as all metrics of an explanation ask for it; leave it as it is.
        """
        if self.heatmaps.requires_grad or self.scores.requires_grad:
            return self._aggregate()
        return self._aggregated

    @cached_property
    def _aggregated(self) -> Tensor:
        return self._aggregate()

    def _aggregate(self) -> Tensor:
        heatmaps = with_exact_constants(self.heatmaps)
        sizes = heatmaps.abs()
        if self.aggregation == "sum":
            weighted = self.scores.clamp(min=0)[..., None, None] * _over(heatmaps, sizes.sum(dim=(2, 3)))
            return weighted.sum(dim=1, keepdim=True)
        speaking = (self.scores > 0)[..., None, None]
        return (speaking * _over(heatmaps, sizes.amax(dim=(2, 3)))).amax(dim=1, keepdim=True)

    @staticmethod
    def cat(explanations: Sequence["Explanation"]) -> "Explanation":
        """Joins explanations of several batches with the same K and the same explained classes."""
        first = explanations[0]
        return replace(
            first,
            heatmaps=torch.cat([e.heatmaps for e in explanations]),
            scores=torch.cat([e.scores for e in explanations]),
            labels=[row for e in explanations for row in e.labels],
            prediction=torch.cat([e.prediction for e in explanations]),
            target=torch.cat([e.target for e in explanations]),
            logits=torch.cat([e.logits for e in explanations]),
            valid=torch.cat([e.valid for e in explanations]),
            logit_estimate=_joined([e.logit_estimate for e in explanations]),
            class_scores=_joined([e.class_scores for e in explanations]),
            kinds=None if first.kinds is None else [row for e in explanations for row in e.kinds or ()],
            pictures=ExplainedPictures.joined([e.pictures for e in explanations]),
        )


def class_name(classes: Sequence[str], index: int) -> str:
    """Name of a class; ``class 7`` for the index 7 where the list of names is shorter."""
    return classes[index] if index < len(classes) else f"class {index}"


def _shortened(classes: Tensor) -> str:
    """The classes of the first images, as a list."""
    first = ", ".join(map(str, classes[:8].tolist()))
    return f"[{first}{', ...' if len(classes) > 8 else ''}]"


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    present = [part for part in parts if part is not None]
    return torch.cat(present) if present else None


def _over(heatmaps: Tensor, sizes: Tensor) -> Tensor:
    """(B, K, H, W) heatmaps, each divided by its size in (B, K); zero where that is zero."""
    whole = sizes[..., None, None]
    return torch.where(whole == 0, torch.zeros_like(heatmaps), heatmaps / whole)
