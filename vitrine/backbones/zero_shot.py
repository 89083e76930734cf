"""Zero-shot classifiers: an image tower, such as CLIP's or SigLIP's, with a head of given text embeddings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitrine.backbones.class_embeddings import BIAS, EMBEDDINGS, SCALE, ClassEmbeddings, read_class_embeddings
from vitrine.core.options import Positive, Range, check_value

USUAL_SCALE = 100.0
"""What most of CLIP's networks were trained to, where neither the file nor the network says it."""
OF_TEXT = "text"
"""Part of the names of modules that embed texts."""


class Normalize(nn.Module):
    """Divides vectors by their length."""

    def forward(self, vectors: Tensor) -> Tensor:
        """(B, d) of length 1 from (B, d)."""
        return F.normalize(vectors, dim=-1)


class ZeroShotClassifier(nn.Module):
    """An image tower that classifies by text embeddings: scale · cos(image embedding, class embedding) + bias.

    The head is a linear layer, ``classifier``, on the normalised embedding of the image, so that all that looks into
    classifiers finds it; its weight is the scale times the normalised class embeddings.

    Args:
        image_tower: maps (B, C, H, W) images to (B, d) embeddings, or is a network of transformers that does.
        classes: embeddings of the n classes.
        logit_scale: what the cosines are multiplied by.
        logit_bias: what is added.

    Example:
        >>> tower = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> model = ZeroShotClassifier(tower, torch.eye(2, 8), logit_scale=10.0)
        >>> model(torch.rand(1, 3, 8, 8)).abs().max() <= 10
        tensor(True)
    """

    def __init__(
        self, image_tower: nn.Module, classes: Tensor, logit_scale: float = USUAL_SCALE, logit_bias: float = 0.0
    ) -> None:
        super().__init__()
        self.image_tower = image_tower
        self.normalize = Normalize()
        count, width = classes.shape
        self.classifier = nn.Linear(width, count)
        with torch.no_grad():
            self.classifier.weight.copy_(logit_scale * F.normalize(classes.double(), dim=1))
            self.classifier.bias.fill_(logit_bias)

    def forward(self, images: Tensor) -> Tensor:
        """(B, n) logits of (B, C, H, W) images."""
        return self.classifier(self.normalize(image_embeddings(self.image_tower, images)))  # type: ignore[no-any-return]


def image_embeddings(tower: nn.Module, images: Tensor) -> Tensor:
    """(B, d) embeddings of (B, C, H, W) images, not normalised, of a tower of any library.

    Raises:
        ValueError: where the tower gives anything else.
    """
    embed = getattr(tower, "get_image_features", None)  # networks of transformers with both towers
    output = tower(images) if embed is None else embed(pixel_values=images)
    for name in ("image_embeds", "pooler_output"):
        output = output if isinstance(output, Tensor) else getattr(output, name, output)
    if not isinstance(output, Tensor) or output.ndim != 2:
        kind = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(
            f"The image tower {type(tower).__name__} gives {kind} in place of (B, d) embeddings; choose the network with its"
            " projection or pooling."
        )
    return output


def classes_for(arguments: Mapping[str, Any], file: Path | None, recorded: tuple[int, int] | None) -> ClassEmbeddings:
    """The class embeddings that arguments name; where their file is gone, such as a file of the whole classifier replaces.

    Args:
        arguments: ``class_embeddings``, a path, and perhaps ``logit_scale`` and ``logit_bias``, which come before the file's.
        file: weights that will be loaded.
        recorded: n and d of the head that this file holds, where it holds one.

    Raises:
        FileNotFoundError: where the file of embeddings does not exist.
        ValueError: for a file or numbers that make no sense.
    """
    path = arguments[EMBEDDINGS]
    if not isinstance(path, str | Path):
        raise ValueError(f"arguments.{EMBEDDINGS} is {path!r}; give the path of a .safetensors file.")
    if recorded is not None and not Path(path).is_file():
        found = ClassEmbeddings(torch.ones(recorded), source=str(file))
    else:
        found = read_class_embeddings(path)
    numbers = {SCALE: arguments.get(SCALE, found.logit_scale), BIAS: arguments.get(BIAS, found.logit_bias)}
    check_value(f"arguments.{SCALE}", numbers[SCALE], Positive | None)
    check_value(f"arguments.{BIAS}", numbers[BIAS], Annotated[float, Range()] | None)
    return ClassEmbeddings(found.embeddings, found.classes, numbers[SCALE], numbers[BIAS], found.source)


def classifier_of(tower: nn.Module, classes: ClassEmbeddings, name: str) -> ZeroShotClassifier:
    """A classifier of a tower, which is stripped of what embeds texts; its own scale and bias hold where none are given.

    Args:
        tower: built for this; it is changed.
        classes: with their scale and bias.
        name: of the network, for messages.

    Raises:
        ValueError: where tower and classes differ in the width d of their embeddings.
    """
    scale, bias = _own_numbers(tower)
    for child in [child for child, _ in tower.named_children() if OF_TEXT in child]:
        setattr(tower, child, None)
    width = _width(tower)
    if width is not None and width != classes.embeddings.shape[1]:
        raise ValueError(
            f"{classes.source} have {classes.embeddings.shape[1]} numbers a class, and the image tower {name!r} gives"
            f" {width}; give embeddings by the text tower that it was trained with."
        )
    given = (classes.logit_scale, classes.logit_bias)
    scale, bias = (own if one is None else one for one, own in zip(given, (scale, bias), strict=True))
    return ZeroShotClassifier(tower, classes.embeddings, scale, bias)


def _own_numbers(tower: nn.Module) -> tuple[float, float]:
    """Scale and bias that a network was trained with, taken off it, since nothing of it uses them any more."""
    scale, bias = getattr(tower, "logit_scale", None), getattr(tower, "logit_bias", None)
    for name in (SCALE, BIAS):
        if isinstance(getattr(tower, name, None), nn.Parameter):
            delattr(tower, name)
    return (
        float(scale.detach().exp()) if isinstance(scale, Tensor) else USUAL_SCALE,
        float(bias.detach()) if isinstance(bias, Tensor) else 0.0,
    )


def _width(tower: nn.Module) -> int | None:
    """Width d of a tower of transformers, by its configuration; None where it is not said."""
    config = getattr(tower, "config", None)
    if config is None:
        return None
    projection = getattr(tower, "visual_projection", None)
    if isinstance(projection, nn.Linear):
        return projection.out_features
    inner = getattr(config, "vision_config", config)
    return getattr(inner, "hidden_size", None)
