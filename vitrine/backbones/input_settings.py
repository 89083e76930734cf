"""Input settings: the size, mean and std that a network's images are prepared with, as its library knows them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torchvision

from vitrine.backbones.hugging_face import read_json
from vitrine.backbones.networks import BackboneOptions


@dataclass(frozen=True)
class InputSettings:
    """How images are prepared; its fields are options of `vitrine.data.preprocessing.Preprocessing`."""

    size: int
    """Side of the square input in pixels."""
    resize: int | None
    """Short side in pixels before the centre crop; None where the whole image is resized to the square."""
    mean: tuple[float, ...]
    """Of each channel of images in [0, 1]."""
    std: tuple[float, ...]
    """Of each channel of images in [0, 1]."""
    source: str
    """Where they are from, in words."""


def input_settings(options: BackboneOptions) -> InputSettings | None:
    """What torchvision, timm or a folder of Hugging Face says; None where nobody does. Nothing is downloaded.

    Args:
        options: the network. An argument that sets its size comes before what the library says.

    Example:
        >>> settings = input_settings(BackboneOptions("resnet50", "IMAGENET1K_V2"))
        >>> settings.size, settings.resize
        (224, 232)
    """
    if options.folder is not None:
        return _of_folder(options.folder, options.arguments)
    if options.name.startswith("timm:"):
        return _of_timm(options.name.removeprefix("timm:"), options.arguments)
    return None if options.is_own else _of_torchvision(options)


def _of_torchvision(options: BackboneOptions) -> InputSettings | None:
    try:
        table = torchvision.models.get_model_weights(options.name)
    except ValueError:
        return None
    entry = options.weights if options.weights in table.__members__ else "DEFAULT"
    if entry not in table.__members__:
        return None
    prepare = table[entry].transforms()
    size = _side(options.arguments.get("image_size", prepare.crop_size))
    resize = _side(prepare.resize_size)
    resize = max(resize, size)
    return InputSettings(size, resize, tuple(prepare.mean), tuple(prepare.std), f"torchvision's {entry} weights")


def _of_timm(name: str, arguments: Mapping[str, Any]) -> InputSettings | None:
    try:
        from timm.models import get_pretrained_cfg  # noqa: PLC0415 - an optional extra

        cfg = get_pretrained_cfg(name)
    except (ImportError, RuntimeError):
        return None
    if cfg is None:
        return None
    size = _side(arguments.get("img_size", cfg.input_size[1:]))
    whole = cfg.crop_mode == "squash" or not cfg.crop_pct
    resize = None if whole else math.floor(size / cfg.crop_pct)
    count = arguments.get("in_chans", len(cfg.mean))
    mean, std = ((tuple(values) * count)[:count] for values in (cfg.mean, cfg.std))
    return InputSettings(size, resize, mean, std, "timm's pretrained_cfg")


def _of_folder(folder: Path, arguments: Mapping[str, Any]) -> InputSettings | None:
    """As preprocessor_config.json says; sizes that it lacks are those of config.json."""
    saved, config = read_json(folder, "preprocessor_config.json"), read_json(folder, "config.json")
    if not saved:
        return None
    resized = saved.get("size", config.get("image_size", 224))
    cropped = saved.get("crop_size") if saved.get("do_center_crop") else None
    short = resized.get("shortest_edge") if isinstance(resized, dict) else None
    size, resize = _side(resized), None
    if cropped is not None:
        size, resize = _side(cropped), _side(resized)
    elif short is not None:
        # ConvNeXt's: below 384 pixels the short side is resized to more, and the middle cut out.
        resize = int(short / saved.get("crop_pct", 224 / 256)) if "crop_pct" in saved and short < 384 else short
    size = _side(arguments.get("image_size", size))
    plain = not saved.get("do_normalize", True)
    mean, std = (
        tuple(saved.get(name) or usual) for name, usual in (("image_mean", (0.5,) * 3), ("image_std", (0.5,) * 3))
    )
    if plain:
        mean, std = (0.0,) * len(mean), (1.0,) * len(std)
    resize = resize if resize is None or resize >= size else size
    return InputSettings(size, resize, mean, std, "preprocessor_config.json")


def _side(size: Any) -> int:
    """One side of a size: a number, a list, or a dict as folders have it."""
    if isinstance(size, Mapping):
        size = size.get("height", size.get("shortest_edge", size.get("longest_edge", 224)))
    return int(size if isinstance(size, int | float) else next(iter(size)))
