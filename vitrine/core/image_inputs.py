"""Checks of the images that are given to a model or an explainer, and errors of models that do not take them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from vitrine.core.error_texts import first_line

IMAGE_CHANNELS = {1, 3, 4}


def check_images(images: Any, name: str = "images", *, finite: bool = False) -> None:
    """Makes sure that images are a batch that a model can take.

    Args:
        images: (B, C, H, W), floating-point.
        name: of the argument, for errors.
        finite: also looks for NaN and infinity, which on a GPU waits for it.

    Raises:
        ValueError: where they are no tensor, have other dimensions, channels last or integers, or hold NaN or infinity.
    """
    if not isinstance(images, Tensor):
        raise ValueError(
            f"{name} must be a tensor (B, C, H, W), got {_kind(images)}; make one by torch.stack or as_tensor."
        )
    shape = tuple(images.shape)
    if images.ndim == 3:
        raise ValueError(f"{name} must be (B, C, H, W), got {shape}; give one image as {name}[None].")
    if images.ndim != 4:
        raise ValueError(f"{name} must be (B, C, H, W), got {shape}.")
    if not images.is_floating_point():
        raise ValueError(
            f"{name} are {images.dtype}, and models take floating-point values; prepare pictures by the explainer's"
            " `preprocessing` (vitrine.data.preprocessing.Preprocessing), or convert them by .float() / 255."
        )
    if 0 in shape[1:]:
        raise ValueError(f"{name} must have pixels, got {shape}.")
    if shape[3] in IMAGE_CHANNELS and shape[1] not in IMAGE_CHANNELS and min(shape[1:3]) > 4:
        raise ValueError(
            f"{name} must be (B, C, H, W), got {shape}, which looks like channels last; give {name}.permute(0, 3, 1, 2)."
        )
    if finite:
        _refuse_not_finite(images, name)


def _refuse_not_finite(images: Tensor, name: str) -> None:
    if bool(images.detach().sum().isfinite()):  # then all are, by one pass over them
        return
    wrong = ~images.detach().isfinite().flatten(1).all(dim=1)
    if wrong.any():
        index = int(wrong.nonzero()[0])
        raise ValueError(f"{name} hold NaN or infinity, first in image {index}; leave such images out.")


def _kind(value: Any) -> str:
    shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
    return f"{type(value).__module__}.{type(value).__qualname__}{shape}".removeprefix("builtins.")


_SIZE_REMEDIES = {
    r"Input image size .* doesn't match model": "give images of that size, or build the network of transformers with"
    " backbone.arguments.interpolate_pos_encoding: true, which interpolates its position embeddings",
    r"Input (?:height|width) .* doesn't match model": "give images of that size, or build the network of timm with"
    " backbone.arguments.img_size: SIZE, or where it takes it dynamic_img_size: true",
    r"should be divisible by patch size": "give images of a multiple of it, or build the network of timm with"
    " backbone.arguments.dynamic_img_pad: true",
    r"Wrong image (?:height|width)! Expected": "give images of that size, or build the network of torchvision with"
    " backbone.arguments.image_size: SIZE",
}
"""What helps where a network says that it takes images of one size alone, by what it says."""


class ModelRunError(ValueError, RuntimeError):
    """The model does not take the images, or an operator of it does not do what is asked of it."""


@contextmanager
def run_errors_named(user: str, images: Tensor) -> Iterator[None]:
    """Turns an error of torch, whose text speaks of an operator, into one that names who ran the model on which images.

    Args:
        user: of the model: a method or an explainer.
        images: that the model runs on.

    Raises:
        ModelRunError: with the first line of the error.
    """
    try:
        yield
    except (torch.OutOfMemoryError, ModelRunError):
        raise
    except (RuntimeError, AssertionError, ValueError) as error:  # transformers assert that images have their size
        reason = first_line(error)
        remedy = next((text for pattern, text in _SIZE_REMEDIES.items() if re.search(pattern, reason)), None)
        if remedy is None and isinstance(error, ValueError):
            raise
        reason = reason if remedy is None else f"{reason.rstrip('!')}; {remedy}"
        raise ModelRunError(
            f"{user} cannot run the model on images of shape {tuple(images.shape)} and type {images.dtype}: {reason}."
        ) from error
