"""The two formats of ADE20K: the full set (2021) and the scene-parsing challenge (2016)."""

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from vitrine.data.shards.converters.scenes import canonical
from vitrine.data.shards.documents import parse_json
from vitrine.data.shards.images import decode
from vitrine.data.shards.sample import Source
from vitrine.data.shards.text_lists import read_index, read_lines

SPLITS = ("training", "validation", "all")
SCENES = "sceneCategories.txt"
_OBJECTS = "objectInfo150.txt"
_MOST_OBJECTS = 65_535
_AGAIN = "unpack the official archive again"


@dataclass(frozen=True)
class SceneImage:
    """An image of either format, with its scene and object map."""

    image: Path
    relative: Path
    split: str
    scene: str
    """Name of the scene, unique in the set."""
    spellings: tuple[str, ...]
    """Canonical names of the scene in lists of scenes."""
    objects: Source
    """Map of object ids."""
    annotation: Path | None = None
    """JSON file of the full format."""


def full_folder(root: Path) -> Path | None:
    """The image folder of the full format; None for another format."""
    folders = (path / "images" / "ADE" for path in (root, *sorted(root.glob("ADE20K_*"))))
    return next((folder for folder in folders if folder.is_dir()), None)


def full_images(base: Path) -> Iterator[SceneImage]:
    """The images of the full format, whose scenes are their folders."""
    folders = sorted(path for split in SPLITS[:2] for path in base.glob(f"{split}/*/*") if path.is_dir())
    groups = {(folder.parent.name, folder.name) for folder in folders}
    num_groups = Counter(scene for _, scene in groups)
    for folder in folders:
        group, name = folder.parent.name, folder.name
        scene = f"{group}/{name}" if num_groups[name] > 1 else name
        spellings = (canonical(name), canonical(f"{group}/{name}"))
        for image in sorted(folder.glob("ADE_*.jpg")):
            segments, annotation = image.with_name(f"{image.stem}_seg.png"), image.with_suffix(".json")
            for path in (segments, annotation):
                _require_beside(path, image)
            relative = image.relative_to(base)
            ids = partial(read_object_ids, segments)
            yield SceneImage(image, relative, relative.parts[0], scene, spellings, ids, annotation)


def read_object_ids(path: Path) -> bytes:
    """The class ids of a ``*_seg.png``, R // 10 · 256 + G, as a 16-bit PNG.

    Raises:
        ValueError: where the file is not an RGB image.
    """
    picture = decode(path.read_bytes(), str(path))
    if picture.mode != "RGB":
        raise ValueError(f"{path} has the mode {picture.mode} in place of RGB: {_AGAIN}.")
    red, green, _ = np.moveaxis(np.asarray(picture, dtype=np.uint16), 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(red // 10 * 256 + green).save(buffer, format="PNG")
    return buffer.getvalue()


def names_in_json(images: list[SceneImage]) -> list[str]:
    """Names of the object ids 1, 2 and so on, from the JSON files of images; empty for ids without a name."""
    names: dict[int, str] = {}
    for image in images:
        if image.annotation is not None:
            names.update(_read_names(image.annotation))
    return [names.get(identifier, "") for identifier in range(1, max(names, default=0) + 1)]


def _read_names(path: Path) -> dict[int, str]:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    try:
        objects = parse_json(text, "it", repeats=True)["annotation"]["object"]
        names = {int(entry["name_ndx"]): str(entry["name"]) for entry in objects}
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"{path} has no annotation of objects with name and name_ndx ({error!r}): {_AGAIN}.") from None
    if wrong := next((number for number in names if not 0 <= number <= _MOST_OBJECTS), None):
        raise ValueError(f"{path} has the name_ndx {wrong}, which is not from 0 to {_MOST_OBJECTS}: {_AGAIN}.")
    return names


def challenge_folder(root: Path) -> Path:
    """The folder of the scene-parsing challenge.

    Raises:
        FileNotFoundError: where there is none.
    """
    for folder in (root, root / "ADEChallengeData2016", root / "sampleData"):
        if (folder / "annotations").is_dir() and (folder / "images").is_dir():
            return folder
    raise FileNotFoundError(
        f"{root} holds neither images/ADE (full format) nor images and annotations (scene-parsing challenge): give the"
        " folder ADE20K_2021_17_01 or ADEChallengeData2016 as --root."
    )


def challenge_images(base: Path, scene_file: Path | None) -> Iterator[SceneImage]:
    """The images of the scene-parsing challenge, whose scenes are listed in a file."""
    path = scene_file or base / SCENES
    scenes = _read_scenes(path)
    for image in sorted((base / "images").rglob("ADE_*.jpg")):
        relative = image.relative_to(base / "images")
        objects = base / "annotations" / relative.with_suffix(".png")
        _require_beside(objects, image)
        if image.stem not in scenes:
            raise ValueError(f"{path} has no line for {image.stem}, of which there is {image}: {_AGAIN}.")
        scene, split = scenes[image.stem], "validation" if image.stem.startswith("ADE_val_") else "training"
        yield SceneImage(image, relative, split, scene, (canonical(scene),), objects)


def _read_scenes(path: Path) -> dict[str, str]:
    scenes: dict[str, str] = {}
    for line in read_lines(path, "give a file with an image's name and its scene in each line as --scene-file"):
        name, *scene = line.text.split(None, 1)
        if not scene:
            raise ValueError(f"{path} has the line {name!r} without a scene (line {line.number}): {_AGAIN}.")
        if scenes.setdefault(name, scene[0]) != scene[0]:
            raise ValueError(f"{line.place} gives {name} another scene than a line before: {_AGAIN}.")
    return scenes


def names_in_list(base: Path) -> list[str]:
    """Names of the object ids 1, 2 and so on, from the list of the scene-parsing challenge."""
    path = _require_names(base)
    names = {}
    for line in list(read_lines(path, _AGAIN))[1:]:
        fields = line.text.split("\t")
        if len(fields) < 2:
            raise ValueError(f"{path} has the line {line.text!r} in place of a number, counts and a name: {_AGAIN}.")
        number = read_index(fields[0].strip(), _MOST_OBJECTS + 1, line)
        if number in names:
            raise ValueError(f"{line.place} repeats the number {number}: {_AGAIN}.")
        names[number] = fields[-1].strip()
    return [names.get(identifier, "") for identifier in range(1, max(names, default=0) + 1)]


def _require_names(base: Path) -> Path:
    for folder in (base, base.parent):
        if (folder / _OBJECTS).is_file():
            return folder / _OBJECTS
    raise FileNotFoundError(f"{base / _OBJECTS} does not exist: {_AGAIN}.")


def _require_beside(path: Path, image: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist, but its image {image} does: {_AGAIN}.")
