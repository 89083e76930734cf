"""ADE20K in both of its official formats: the scene of each image, and the object at each pixel."""

import io
import json
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from vitrine.data.shards.converter import Converter, SampleSet, require_folder
from vitrine.data.shards.converters.scenes import ROOMS, canonical, find_scenes, positions, read_categories
from vitrine.data.shards.images import decode
from vitrine.data.shards.sample import Sample, Source, make_key

SPLITS = ("training", "validation", "all")
_AGAIN = "unpack the official archive again"
_SCENES, _OBJECTS = "sceneCategories.txt", "objectInfo150.txt"


@dataclass(frozen=True)
class _Item:
    """An image of either format."""

    image: Path
    relative: Path
    split: str
    scene: str
    """Name of its scene, unique in the set."""
    spellings: tuple[str, ...]
    """Names under which a list of scenes may have it."""
    objects: Source
    annotation: Path | None = None
    """The JSON of the full format."""


def list_ade20k(
    root: Path,
    split: str = "all",
    scenes: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    scene_file: Path | None = None,
) -> SampleSet:
    """Lists images of ADE20K with the object class of each pixel; which of the formats it is, its folders tell.

    Full format (``ADE20K_2021_17_01``): objects are the class ids of ``*_seg.png``, R // 10 · 256 + G, named as in the JSON
    files beside them; a scene is its folder's name, with the group's before it where two groups have one of that name.

    Scene-parsing challenge (``ADEChallengeData2016``): objects are the values of ``annotations/``, of which 1 to 150 are
    named in ``objectInfo150.txt``; the scenes stand in ``sceneCategories.txt``.

    0 is unlabelled in both. Scenes that are not among ``classes`` are left out, and a note of the set counts them.

    Args:
        root: The folder ``ADE20K_2021_17_01`` or ``ADEChallengeData2016``, or the folder above it.
        split: "training", "validation" or "all".
        scenes: Categories to keep, such as the ten kinds of rooms ``scenes.ROOMS``; all without it.
        classes: Class names in the order of the labels, such as those of a Places365 network; without it the scenes
            that are kept, of the whole set, sorted.
        scene_file: The list of scenes of the challenge, where it is not in ``root``.

    Raises:
        FileNotFoundError: The folder has neither format, or a file of an image is absent.
        ValueError: A file is malformed, or a scene is unknown.
    """
    full = _full_folder(require_folder(root))
    items = list(_full_items(full) if full else _challenge_items(_challenge_folder(root), scene_file))
    kept = _keep(items, scenes, root)
    if classes is None:
        classes = sorted({item.scene for item in kept})
    known = positions(classes)
    kept = [item for item in kept if split in {"all", item.split}]
    labelled = [(item, _label(item, known)) for item in kept]
    left_out = Counter(item.scene for item, label in labelled if label is None)
    chosen = [(item, label) for item, label in labelled if label is not None]
    if not chosen:
        raise ValueError(
            f"{root} has no image of the wanted scenes in split {split}: give other scenes, classes or --split all."
        )
    names = _names_in_json([item for item, _ in chosen]) if full else _names_in_list(_challenge_folder(root))
    samples = [_make_sample(item, label) for item, label in chosen]
    return SampleSet("ade20k", split, classes, samples, ("objects",), object_names=names, notes=_notes(left_out))


def _keep(items: list[_Item], scenes: Sequence[str] | None, root: Path) -> list[_Item]:
    if scenes is None:
        return items
    spellings = {spelling: place for place, item in enumerate(items) for spelling in item.spellings}
    find_scenes(scenes, spellings, root)
    wanted = {canonical(name) for name in scenes}
    return [item for item in items if wanted & set(item.spellings)]


def _label(item: _Item, known: dict[str, int]) -> int | None:
    return next((known[spelling] for spelling in item.spellings if spelling in known), None)


def _notes(left_out: Counter[str]) -> list[str]:
    if not left_out:
        return []
    examples = ", ".join(name for name, _ in left_out.most_common(3))
    return [f"{left_out.total()} images of {len(left_out)} scenes that are no class were left out, such as {examples}."]


def _make_sample(item: _Item, label: int) -> Sample:
    source = item.relative.as_posix()
    return Sample(make_key(source), item.image, label, objects=item.objects, extra={"source": source})


# The full format


def _full_folder(root: Path) -> Path | None:
    folders = (path / "images" / "ADE" for path in (root, *sorted(root.glob("ADE20K_*"))))
    return next((folder for folder in folders if folder.is_dir()), None)


def _full_items(base: Path) -> Iterator[_Item]:
    folders = sorted(path for split in SPLITS[:2] for path in base.glob(f"{split}/*/*") if path.is_dir())
    groups = {(folder.parent.name, folder.name) for folder in folders}
    same_name = Counter(scene for _, scene in groups)
    for folder in folders:
        group, name = folder.parent.name, folder.name
        scene = f"{group}/{name}" if same_name[name] > 1 else name
        spellings = (canonical(name), canonical(f"{group}/{name}"))
        for image in sorted(folder.glob("ADE_*.jpg")):
            segments, annotation = image.with_name(f"{image.stem}_seg.png"), image.with_suffix(".json")
            for path in (segments, annotation):
                _require_beside(path, image)
            relative = image.relative_to(base)
            ids = partial(read_object_ids, segments)
            yield _Item(image, relative, relative.parts[0], scene, spellings, ids, annotation)


def read_object_ids(path: Path) -> bytes:
    """The class ids of a ``*_seg.png``, R // 10 · 256 + G, as a 16-bit PNG.

    Raises:
        ValueError: The file is no RGB image.
    """
    picture = decode(path.read_bytes(), str(path))
    if picture.mode != "RGB":
        raise ValueError(f"{path} has the mode {picture.mode} in place of RGB: {_AGAIN}.")
    red, green, _ = np.moveaxis(np.asarray(picture, dtype=np.uint16), 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(red // 10 * 256 + green).save(buffer, format="PNG")
    return buffer.getvalue()


def _names_in_json(items: list[_Item]) -> list[str]:
    names: dict[int, str] = {}
    for item in items:
        if item.annotation is not None:
            names.update(_read_names(item.annotation))
    return [names.get(identifier, "") for identifier in range(1, max(names, default=0) + 1)]


def _read_names(path: Path) -> dict[int, str]:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    try:
        objects = json.loads(text, strict=False)["annotation"]["object"]
        return {int(entry["name_ndx"]): str(entry["name"]) for entry in objects}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} has no annotation of objects with name and name_ndx ({error!r}): {_AGAIN}.") from None


# The scene-parsing challenge


def _challenge_folder(root: Path) -> Path:
    for folder in (root, root / "ADEChallengeData2016", root / "sampleData"):
        if (folder / "annotations").is_dir() and (folder / "images").is_dir():
            return folder
    raise FileNotFoundError(
        f"{root} holds neither images/ADE (full format) nor images and annotations (scene-parsing challenge): give the"
        " folder ADE20K_2021_17_01 or ADEChallengeData2016 as --root."
    )


def _challenge_items(base: Path, scene_file: Path | None) -> Iterator[_Item]:
    path = scene_file or base / _SCENES
    scenes = _read_scenes(path)
    for image in sorted((base / "images").rglob("ADE_*.jpg")):
        relative = image.relative_to(base / "images")
        objects = base / "annotations" / relative.with_suffix(".png")
        _require_beside(objects, image)
        if image.stem not in scenes:
            raise ValueError(f"{path} has no row for {image.stem}, of which there is {image}: {_AGAIN}.")
        scene, split = scenes[image.stem], "validation" if image.stem.startswith("ADE_val_") else "training"
        yield _Item(image, relative, split, scene, (canonical(scene),), objects)


def _read_scenes(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: give a file with rows of an image's name and its scene as --scene-file."
        )
    rows = [line.split(None, 1) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    for row in rows:
        if len(row) != 2:
            raise ValueError(f"{path} has the row {row[0]!r} without a scene: {_AGAIN}.")
    return {row[0]: row[1].strip() for row in rows}


def _names_in_list(base: Path) -> list[str]:
    path = _require_names(base)
    names = {}
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        fields = line.split("\t")
        if len(fields) < 2 or not fields[0].strip().isdigit():
            raise ValueError(f"{path} has the row {line!r} in place of a number, counts and a name: {_AGAIN}.")
        names[int(fields[0])] = fields[-1].strip()
    return [names.get(identifier, "") for identifier in range(1, max(names, default=0) + 1)]


def _require_names(base: Path) -> Path:
    for folder in (base, base.parent):
        if (folder / _OBJECTS).is_file():
            return folder / _OBJECTS
    raise FileNotFoundError(f"{base / _OBJECTS} does not exist: {_AGAIN}.")


def _require_beside(path: Path, image: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist, but its image {image} does: {_AGAIN}.")


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, help="folder ADE20K_2021_17_01 or ADEChallengeData2016")
    parser.add_argument("--split", choices=SPLITS, required=True, help="which of the official splits, or both")
    parser.add_argument(
        "--scenes", nargs="+", metavar="NAME", help=f"scenes to keep (all); rooms are {' '.join(ROOMS)}"
    )
    parser.add_argument(
        "--classes-from", type=Path, metavar="FILE", help="class names in the order of a network's logits"
    )
    parser.add_argument("--scene-file", type=Path, metavar="FILE", help=f"{_SCENES}, where --root has none")


def _list(
    root: Path, split: str, scenes: Sequence[str] | None, classes_from: Path | None, scene_file: Path | None
) -> SampleSet:
    return list_ade20k(root, split, scenes, read_categories(classes_from) if classes_from else None, scene_file)


CONVERTER = Converter(
    "ade20k",
    "ADE20K: scene, and object class of each pixel",
    _add_arguments,
    lambda args: _list(args.root, args.split, args.scenes, args.classes_from, args.scene_file),
)
