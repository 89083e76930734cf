"""Converter of ADE20K: the scene of each image, and the object class of each pixel."""

from argparse import ArgumentParser
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from vitrine.data.shards.converter import Converter, SampleSet, require_folder
from vitrine.data.shards.converters.ade20k_formats import (
    SCENES,
    SPLITS,
    SceneImage,
    challenge_folder,
    challenge_images,
    full_folder,
    full_images,
    names_in_json,
    names_in_list,
)
from vitrine.data.shards.converters.scenes import ROOMS, canonical, find_scenes, index_by_name, read_categories
from vitrine.data.shards.sample import Sample, make_key


def list_ade20k(
    root: Path,
    split: str = "all",
    scenes: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    scene_file: Path | None = None,
) -> SampleSet:
    """Lists images of ADE20K with the object class of each pixel; the format is recognised by its folders.

    Full format (``ADE20K_2021_17_01``): objects are the class ids of ``*_seg.png``, R // 10 · 256 + G, named in the JSON
    files beside them; a scene is its folder's name, with that of the group before it where several groups have it.

    Scene-parsing challenge (``ADEChallengeData2016``): objects are the values of ``annotations/``, of which 1 to 150 are
    named in ``objectInfo150.txt``; the scenes are listed in ``sceneCategories.txt``.

    0 is unlabelled in both. Images of scenes that are not among ``classes`` are left out, and counted in a note of the set.

    Args:
        root: the folder ``ADE20K_2021_17_01`` or ``ADEChallengeData2016``, or the folder above it.
        split: "training", "validation" or "all".
        scenes: categories to keep, such as the ten rooms ``scenes.ROOMS``; all without it.
        classes: class names in the order of the labels, such as those of a Places365 network; without it the
            selected scenes of the whole set, sorted.
        scene_file: the list of scenes of the challenge, where it is not in ``root``.

    Raises:
        FileNotFoundError: where the folder is of neither format, or a file of an image is absent.
        ValueError: where a file is malformed, or a scene is unknown.
    """
    full = full_folder(require_folder(root))
    images = list(full_images(full) if full else challenge_images(challenge_folder(root), scene_file))
    images = _select(images, scenes, root)
    if classes is None:
        classes = sorted({image.scene for image in images})
    label_of = index_by_name(classes)
    of_split = [(image, _label(image, label_of)) for image in images if split in {"all", image.split}]
    left_out = Counter(image.scene for image, label in of_split if label is None)
    labelled = [(image, label) for image, label in of_split if label is not None]
    if not labelled:
        raise ValueError(
            f"{root} has no image of these scenes in split {split}: give other scenes, classes or --split all."
        )
    names = names_in_json([image for image, _ in labelled]) if full else names_in_list(challenge_folder(root))
    samples = [_make_sample(image, label) for image, label in labelled]
    return SampleSet("ade20k", split, classes, samples, ("objects",), object_names=names, notes=_notes(left_out))


def _select(images: list[SceneImage], scenes: Sequence[str] | None, root: Path) -> list[SceneImage]:
    if scenes is None:
        return images
    known = {spelling: index for index, image in enumerate(images) for spelling in image.spellings}
    find_scenes(scenes, known, root)
    names = {canonical(name) for name in scenes}
    return [image for image in images if names & set(image.spellings)]


def _label(image: SceneImage, label_of: dict[str, int]) -> int | None:
    return next((label_of[spelling] for spelling in image.spellings if spelling in label_of), None)


def _notes(left_out: Counter[str]) -> list[str]:
    if not left_out:
        return []
    examples = ", ".join(name for name, _ in left_out.most_common(3))
    return [f"{left_out.total()} images of {len(left_out)} scenes that are no class were left out, such as {examples}."]


def _make_sample(image: SceneImage, label: int) -> Sample:
    source = image.relative.as_posix()
    return Sample(make_key(source), image.image, label, objects=image.objects, extra={"source": source})


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, help="folder ADE20K_2021_17_01 or ADEChallengeData2016")
    parser.add_argument("--split", choices=SPLITS, required=True, help="which of the official splits, or both")
    parser.add_argument(
        "--scenes", nargs="+", metavar="NAME", help=f"scenes to take (all); rooms are {' '.join(ROOMS)}"
    )
    parser.add_argument(
        "--classes-from", type=Path, metavar="FILE", help="class names in the order of a network's logits"
    )
    parser.add_argument("--scene-file", type=Path, metavar="FILE", help=f"{SCENES}, where --root has none")


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
