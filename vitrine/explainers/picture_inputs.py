"""Pictures as an explainer's input: files, PIL images and uint8 arrays, prepared by its own preprocessing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from vitrine.core.near_names import near_names
from vitrine.data.class_matching import candidates_by_name
from vitrine.data.colours import Mode, to_mode
from vitrine.data.orientation import upright
from vitrine.data.picture_pixels import picture_pixels
from vitrine.data.preprocessing import Preprocessing

Picture = str | Path | Image.Image | NDArray[np.uint8]
"""A file, a PIL image of any mode, or (H, W), (H, W, 3) or (H, W, 4) uint8 values."""
Pictures = Picture | Sequence[Picture]
KINDS = "a path, a PIL image, a uint8 array (H, W, 3), or a list of these; or a tensor (B, C, H, W) that is prepared already"


class PreparedPictures:
    """Pictures and the input that is made of them.

    Args:
        given: one picture or a list.
        preprocessing: of the explainer.

    Raises:
        ValueError: where there is no preprocessing, and for what is no picture that can be read; the sentence names it.
        FileNotFoundError: where a file is not there.
    """

    def __init__(self, given: Pictures, preprocessing: Preprocessing | None) -> None:
        if preprocessing is None:
            raise ValueError(
                "This explainer does not know how pictures are prepared; give it preprocessing=Preprocessing(size=224, …)"
                " when it is made, or explain a tensor (B, C, H, W) that is prepared for its backbone."
            )
        pictures = list(given) if isinstance(given, list | tuple) else [given]
        if isinstance(given, np.ndarray) and given.ndim == 4:
            pictures = list(given)
        if not pictures:
            raise ValueError("There are no pictures to explain; give at least one.")
        pixels = [_pixels(picture, preprocessing.mode, place) for place, picture in enumerate(pictures)]
        self.images = [F.to_pil_image(one).convert("RGB") for one in pixels]
        """Upright, at their own size."""
        self.names = [_name(picture, place) for place, picture in enumerate(pictures)]
        self.inputs: Tensor = torch.stack(
            [preprocessing.sample({"image": tv_tensors.Image(one)})["image"] for one in pixels]
        )
        """(B, C, S, S), normalised."""


def are_pictures(given: Any) -> bool:
    """Whether something is meant as pictures, so that what is wrong with it is told as of pictures."""
    if isinstance(given, list | tuple):
        return not any(isinstance(one, Tensor) for one in given)
    return isinstance(given, str | Path | Image.Image | np.ndarray)


def _name(picture: Any, place: int) -> str:
    if isinstance(picture, str | Path):
        return Path(picture).name
    return Path(str(getattr(picture, "filename", "") or f"picture {place + 1}")).name


def _pixels(picture: Any, mode: Mode, place: int) -> Tensor:
    """(C, H, W) uint8, upright, in the colours of the network's input."""
    if isinstance(picture, str | Path):
        return picture_pixels(_checked_file(Path(picture)), mode)
    if isinstance(picture, np.ndarray):
        picture = _image_of_array(picture, place)
    if not isinstance(picture, Image.Image):
        raise ValueError(f"Picture {place + 1} is a {type(picture).__name__}; give {KINDS}.")
    pixels: Tensor = F.pil_to_tensor(to_mode(upright(picture), mode, f"picture {place + 1}"))
    return pixels


def _checked_file(path: Path) -> Path:
    if path.is_dir():
        raise ValueError(
            f"{path} is a folder; give its pictures, such as sorted(Path({str(path)!r}).glob('*.jpg')), or run"
            f" vitrine explain --images {path}."
        )
    if not path.is_file():
        raise FileNotFoundError(f"The picture {path} does not exist; give the path of a picture.")
    return path


def _image_of_array(values: NDArray[Any], place: int) -> Image.Image:
    is_picture = values.ndim == 2 or (values.ndim == 3 and values.shape[2] in {1, 3, 4})
    if values.dtype != np.uint8 or not is_picture or 0 in values.shape:
        raise ValueError(
            f"Picture {place + 1} is an array of {values.dtype} and shape {values.shape}; give uint8 values from 0 to 255 of"
            " shape (H, W, 3), (H, W) or (H, W, 4)."
        )
    return Image.fromarray(values[..., 0] if values.shape[2:] == (1,) else np.ascontiguousarray(values))


def class_index(name: str, classes: Sequence[str]) -> int:
    """The class that a person names.

    Raises:
        ValueError: where there is none of this name, with near ones, or there are several.

    Example:
        >>> class_index("bee", ["Ant", "Bee"])
        1
    """
    if not classes:
        raise ValueError(f"target {name!r} is a name, and the explainer knows no names of classes; give an index.")
    wanted = candidates_by_name([name], classes)[0]
    if len(wanted) == 1:
        return wanted[0]
    if wanted:
        raise ValueError(f"target {name!r} is the name of the classes {', '.join(map(str, wanted))}; give an index.")
    near = ", ".join(near_names(name, classes))
    raise ValueError(f"target {name!r} is none of the {len(classes)} classes; near names: {near}.")


def class_indices(target: Any, classes: Sequence[str]) -> Any:
    """A target whose names of classes, one for all or a list of them, are made indices; any other target as it is."""
    if isinstance(target, str):
        return class_index(target, classes)
    if isinstance(target, list | tuple) and any(isinstance(one, str) for one in target):
        return [class_index(one, classes) if isinstance(one, str) else one for one in target]
    return target
