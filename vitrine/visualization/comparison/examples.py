"""Example images of tested runs: the same images under the heatmaps of every method."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vitrine.visualization.comparison.tested_runs import RunRecord
from vitrine.visualization.grid import captioned_grid
from vitrine.visualization.overlays import overlay, picture, resized

EXAMPLES_NAME = "examples.safetensors"
SIDE = 160
"""Longer side of a drawn image in pixels."""


@dataclass(frozen=True)
class Example:
    """One image under one method."""

    key: str
    target: str
    """The explained class."""
    image: Tensor
    """(3, H, W) float in [0, 1]."""
    map: Tensor
    """(H, W) float."""


Place = tuple[str, int]
"""Key of an image, and which of its rows: one that is explained as several classes has several."""


def common_examples(runs: Sequence[RunRecord]) -> dict[str, dict[Place, Example]]:
    """The examples that all runs with examples have, by method; empty where there are none.

    Raises:
        ValueError: for a damaged file.
    """
    found = {run.name: read_examples(run.folder / EXAMPLES_NAME) for run in runs}
    found = {method: examples for method, examples in found.items() if examples}
    if not found:
        return {}
    first, *others = found.values()
    places = [place for place in first if all(place in other for other in others)]
    return {method: {place: of_method[place] for place in places} for method, of_method in found.items() if places}


def read_examples(path: Path) -> dict[Place, Example]:
    """Reads the examples of one run; none where the file is not there.

    Raises:
        ValueError: for a damaged file.
    """
    if not path.is_file():
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            sample = json.loads(file.metadata()["sample"])
            images, maps = file.get_tensor("images"), file.get_tensor("maps")
        return _examples(sample["keys"], sample["targets"], images, maps)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}): run train.py test again.") from None


def _examples(keys: Sequence[str], targets: Sequence[str], images: Tensor, maps: Tensor) -> dict[Place, Example]:
    if images.ndim != 4 or images.shape[1] != 3 or maps.shape != (len(images), *images.shape[2:]):
        raise ValueError(f"images {tuple(images.shape)} and maps {tuple(maps.shape)}")
    seen: Counter[str] = Counter()
    examples = {}
    for key, target, image, map_ in zip(keys, targets, images, maps, strict=True):
        examples[key, seen[key]] = Example(str(key), str(target), image.float() / 255, map_.float())
        seen[key] += 1
    return examples


def examples_picture(examples: Mapping[str, Mapping[Place, Example]]) -> Image.Image | None:
    """One picture of all: a row of images, and below it a row of heatmaps over them for each method."""
    if not examples:
        return None
    first = next(iter(examples.values()))
    photos = [(example.target, _square(resized(picture(example.image), SIDE))) for example in first.values()]
    rows = [
        [
            (_caption(method, example, first[place]), _square(overlay(example.image, example.map, side=SIDE)))
            for place, example in of_method.items()
        ]
        for method, of_method in examples.items()
    ]
    return captioned_grid([photos, *rows])


def _caption(method: str, example: Example, shown: Example) -> str:
    """The method, and the class where it explains another than the picture above says."""
    return method if example.target == shown.target else f"{method}: {example.target}"


def _square(image: Image.Image) -> Image.Image:
    tile = Image.new("RGB", (SIDE, SIDE), "white")
    tile.paste(image, ((SIDE - image.width) // 2, (SIDE - image.height) // 2))
    return tile
