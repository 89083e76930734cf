"""Small ADE20K and Places365 folders in their official layouts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.helpers.image_sets import write_picture

OBJECTS = {"wall": 2978, "bed": 165, "lavabo café": 300, "door": 774}
"""Names and their ids in the full format."""


def full_ids(number: int, size: tuple[int, int] = (12, 10)) -> Any:
    """The object ids that image ``number`` of the full format has: unlabelled, then two of the objects."""
    ids = np.zeros((size[1], size[0]), dtype=np.int64)
    names = list(OBJECTS.values())
    ids[2:6] = names[number % 4]
    ids[6:, 3:] = names[(number + 1) % 4]
    return ids


def write_full_image(folder: Path, stem: str, number: int, encoding: str = "utf-8") -> None:
    """jpg, _seg.png, _parts_1.png, .json and the folder of instances of one image of the 2021 format."""
    write_picture(folder / f"{stem}.jpg", number)
    ids = full_ids(number)
    segments = np.stack([ids // 256 * 10 + number % 10, ids % 256, np.full_like(ids, 7)], axis=2).astype(np.uint8)
    Image.fromarray(segments).save(folder / f"{stem}_seg.png")
    Image.fromarray(segments).save(folder / f"{stem}_parts_1.png")
    names = {identifier: name for name, identifier in OBJECTS.items()}
    objects = [
        {"id": place, "name": names[identifier], "name_ndx": int(identifier), "parts": {"part_level": 0}}
        for place, identifier in enumerate(np.unique(ids[ids > 0]).tolist())
    ]
    record = {"annotation": {"filename": f"{stem}.jpg", "scene": [folder.parent.name, folder.name], "object": objects}}
    (folder / f"{stem}.json").write_bytes(json.dumps(record, ensure_ascii=False).encode(encoding))
    write_picture(folder / stem / f"instance_000_{stem}.png")


def write_ade20k(root: Path, images: Sequence[tuple[str, str, str]]) -> Path:
    """ADE20K_2021_17_01 with images of (split, group/scene, stem); every second JSON is in Latin-1."""
    for number, (split, scene, stem) in enumerate(images):
        folder = root / "images" / "ADE" / split / scene
        write_full_image(folder, stem, number, "latin-1" if number % 2 else "utf-8")
    return root


def write_challenge(root: Path, images: Sequence[tuple[str, str, str]]) -> Path:
    """ADEChallengeData2016 with images of (split, scene, stem), whose pixels are object number % 150 + 1, and 0 around."""
    for number, (split, _, stem) in enumerate(images):
        write_picture(root / "images" / split / f"{stem}.jpg", number)
        ids = np.zeros((10, 12), dtype=np.uint8)
        ids[1:9, 1:11] = number % 150 + 1
        (root / "annotations" / split).mkdir(parents=True, exist_ok=True)
        Image.fromarray(ids).save(root / "annotations" / split / f"{stem}.png")
    (root / "sceneCategories.txt").write_text("".join(f"{stem} {scene}\n" for _, scene, stem in images))
    rows = "".join(f"{number}\t0.1\t10\t1\tobject {number}, thing {number}\n" for number in range(1, 151))
    (root / "objectInfo150.txt").write_text(f"Idx\tRatio\tTrain\tVal\tName\n{rows}")
    return root


def write_easy_places(root: Path, classes: Sequence[str], train: int, val: int, categories: Sequence[str] = ()) -> Path:
    """places365_standard with class folders of train and val images, and with a list of categories where they are given."""
    for split, count in (("train", train), ("val", val)):
        for place, name in enumerate(classes):
            for number in range(count):
                write_picture(root / split / name.replace("/", "-") / f"{number + 1:08d}.jpg", 100 * place + number)
    if categories:
        write_categories(root / "categories_places365.txt", categories)
    return root


def write_listed_places(root: Path, classes: Sequence[str], train: int, val: int, size: str = "256") -> Path:
    """The archives of lists and images: data_256_standard, val_256 and the three lists."""
    write_categories(root / "categories_places365.txt", classes)
    rows = []
    for place, name in enumerate(classes):
        for number in range(1, train + 1):
            relative = f"/{name[0]}/{name}/{number:08d}.jpg"
            write_picture(root / f"data_{size}_standard" / relative[1:], 100 * place + number)
            rows.append(f"{relative} {place}\n")
    (root / "places365_train_standard.txt").write_text("".join(rows))
    stems = [f"Places365_val_{number + 1:08d}.jpg" for number in range(val * len(classes))]
    for number, stem in enumerate(stems):
        write_picture(root / f"val_{size}" / stem, number)
    (root / "places365_val.txt").write_text(
        "".join(f"{stem} {number % len(classes)}\n" for number, stem in enumerate(stems))
    )
    return root


def write_categories(path: Path, classes: Sequence[str]) -> None:
    """``categories_places365.txt``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"/{name[0]}/{name} {place}\n" for place, name in enumerate(classes)))


FULL = [
    ("training", "home_or_hotel/bedroom", "ADE_train_00000001"),
    ("training", "home_or_hotel/bedroom", "ADE_frame_00000004"),
    ("training", "urban/street", "ADE_train_00000002"),
    ("training", "cultural/apse__indoor", "ADE_train_00000003"),
    ("validation", "home_or_hotel/bedroom", "ADE_val_00000001"),
    ("validation", "rural/street", "ADE_val_00000002"),
]


CHALLENGE = [
    ("training", "bedroom", "ADE_train_00000001"),
    ("training", "apse_indoor", "ADE_train_00000002"),
    ("validation", "bedroom", "ADE_val_00000001"),
]
