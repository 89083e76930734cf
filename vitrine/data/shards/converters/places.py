"""Converter of Places365: a scene category for each image."""

import random
import re
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vitrine.core.options import CountOrZero, Options
from vitrine.data.shards.converter import Converter, SampleSet, number_type, require_folder
from vitrine.data.shards.converters.scenes import ROOMS, canonical, find_scenes, index_by_name, read_categories
from vitrine.data.shards.picture_folders import LeftOut, PictureFolder
from vitrine.data.shards.sample import Sample, make_key
from vitrine.data.shards.text_lists import read_lines, relative_name

SPLITS = ("train", "val")
CATEGORIES = "categories_places365.txt"
_LISTS = {"train": "places365_train_standard.txt", "val": "places365_val.txt"}
_IMAGE_FOLDERS = {
    "train": ("data_256_standard", "data_256", "data_large_standard", "data_large"),
    "val": ("val_256", "val_large"),
}
_LIST_FOLDERS = ("", "filelist_places365-standard")

_Names = dict[int, list[str]]
"""Images of each label, as paths below their split's folder: plain strings, since there are 1.8 million."""


@dataclass(frozen=True)
class PlacesSelection(Options):
    """Which images to take, of 1.8 million.

    Args:
        scenes: categories; all without it.
        per_class: number of images of each of them, sampled at random; all without it.
        others: number of images of each other category, to be used as negatives.
        skip: number of images of each category that are skipped, in the order of sampling, because another set has them.
        seed: of the sampling; for one seed, a smaller sample of a category is part of a larger one.

    Raises:
        OptionError: for a negative number.
    """

    scenes: Sequence[str] | None = None
    per_class: CountOrZero | None = None
    others: CountOrZero = 0
    skip: CountOrZero = 0
    seed: int = 0


ALL = PlacesSelection()


def list_places(root: Path, split: str, selection: PlacesSelection = ALL) -> SampleSet:
    """Lists images of Places365 in either of its official layouts.

    One is ``places365_standard``, with ``train/CLASS/*.jpg`` and ``val/CLASS/*.jpg`` (easyformat). The other has the lists
    ``places365_train_standard.txt``, ``places365_val.txt`` and ``categories_places365.txt`` beside the images in
    ``data_256_standard`` and ``val_256`` (or ``data_large_standard`` and ``val_large``; the small images are preferred).

    Labels are those of ``categories_places365.txt``, also for a selection of categories, so that they are the indices of a
    network's logits. Without that file, an easyformat folder has its class folders in sorted order, which is the same.

    Args:
        root: folder of either layout.
        split: "train" or "val".
        selection: which images to take.

    Raises:
        FileNotFoundError: where a list, a folder or the images of a category are absent.
        ValueError: where a line of a list is malformed, or a scene is not a category of the set.
    """
    require_folder(root)
    classes = place_classes(root)
    labels = set(range(len(classes)))
    if selection.scenes is not None:
        labels = set(find_scenes(selection.scenes, index_by_name(classes), root))
    quotas = [selection.per_class if label in labels else selection.others for label in range(len(classes))]
    left_out = LeftOut()
    base, by_label = (_by_folder if _is_easyformat(root) else _by_list)(root, split, classes, quotas, left_out)
    for label in sorted(labels if selection.scenes is not None else ()):
        if not by_label.get(label):
            raise FileNotFoundError(f"{root} has no {split} images of {classes[label]}: unpack all of the archive.")
    samples = [
        _make_sample(base / name, label, root)
        for label in sorted(by_label)
        for name in _sample(by_label[label], quotas[label], selection, classes[label])
    ]
    return SampleSet("places365", split, classes, samples, notes=left_out.notes())


def has_split(root: Path, split: str) -> bool:
    """Whether there are images of a split."""
    return _find(root, (split, *_IMAGE_FOLDERS[split])) is not None


def _make_sample(image: Path, label: int, root: Path) -> Sample:
    relative = image.relative_to(root)
    return Sample(make_key(relative), image, label, extra={"source": relative.as_posix()})


def place_classes(root: Path) -> list[str]:
    """The scene categories in the order of the labels.

    Raises:
        FileNotFoundError: where there is neither a list of categories nor a folder of class folders.
        ValueError: where the list of categories is malformed.
    """
    listed = _find(root, _LIST_FOLDERS, CATEGORIES)
    if listed is not None:
        return read_categories(listed)
    if not _is_easyformat(root):
        raise FileNotFoundError(
            f"{root} holds neither {CATEGORIES} nor class folders in train: give the folder places365_standard, or that of"
            " the official lists and images."
        )
    return sorted({path.name for split in SPLITS for path in _class_folders(root / split)})


def _is_easyformat(root: Path) -> bool:
    return any(_class_folders(root / split) for split in SPLITS)


def _class_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[!.]*") if path.is_dir())


def _find(root: Path, folders: Sequence[str], name: str = "") -> Path | None:
    return next((root / folder / name for folder in folders if (root / folder / name).exists()), None)


def _by_folder(
    root: Path, split: str, classes: list[str], quotas: list[int | None], left_out: LeftOut
) -> tuple[Path, _Names]:
    base, label_of = require_folder(root / split), index_by_name(classes)
    by_label = {}
    folders = PictureFolder(base, left_out)
    for folder in _class_folders(base):
        label = label_of.get(canonical(folder.name))
        if label is None:
            raise ValueError(f"{folder} is the folder of no class that {CATEGORIES} lists: rename or remove it.")
        if quotas[label] != 0:
            by_label[label] = sorted(path.as_posix() for path, _ in folders.pictures(folder, deep=False))
    return base, by_label


def _by_list(
    root: Path,
    split: str,
    classes: list[str],
    quotas: list[int | None],
    left_out: LeftOut,  # noqa: ARG001 - as of `_by_folder`; nothing is left out of a list
) -> tuple[Path, _Names]:
    path, base = _find(root, _LIST_FOLDERS, _LISTS[split]), _find(root, _IMAGE_FOLDERS[split])
    if path is None:
        raise FileNotFoundError(f"{root / _LISTS[split]} does not exist: unpack filelist_places365-standard.tar there.")
    if base is None:
        raise FileNotFoundError(
            f"{root} has no folder {' or '.join(_IMAGE_FOLDERS[split])}: unpack the archive of the {split} images there."
        )
    by_label: _Names = defaultdict(list)
    seen: set[str] = set()
    for line in read_lines(path, "unpack filelist_places365-standard.tar there"):
        *fields, text = line.text.rsplit(None, 1)
        if not fields or not re.fullmatch("[0-9]{1,9}", text) or int(text) >= len(classes):
            raise ValueError(
                f"{line.place} is {line.text!r} and no image with a label below {len(classes)}: unpack the archive again."
            )
        name, label = relative_name(fields[0].lstrip("/"), line), int(text)
        if name in seen:
            raise ValueError(f"{line.place} repeats the image {name}: remove one of the lines.")
        seen.add(name)
        if quotas[label] != 0:
            by_label[label].append(name)
    return base, by_label


def _sample(names: list[str], quota: int | None, selection: PlacesSelection, category: str) -> list[str]:
    if quota is None and not selection.skip:
        return names
    shuffled = sorted(names)
    random.Random(f"{selection.seed} {canonical(category)}").shuffle(shuffled)  # noqa: S311 - not for cryptography
    return shuffled[selection.skip :][:quota]


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, help="folder places365_standard, or of lists and images")
    parser.add_argument("--split", choices=SPLITS, required=True, help="which of the official splits")
    parser.add_argument(
        "--scenes", nargs="+", metavar="NAME", help=f"categories to take (all); rooms are {' '.join(ROOMS)}"
    )
    parser.add_argument(
        "--per-class",
        type=number_type(CountOrZero),
        metavar="N",
        help="images of each category, sampled with --seed (all)",
    )
    parser.add_argument(
        "--others", type=number_type(CountOrZero), default=0, metavar="N", help="images of each other category (0)"
    )
    parser.add_argument(
        "--skip", type=number_type(CountOrZero), default=0, metavar="N", help="images of each that another set has (0)"
    )


CONVERTER = Converter(
    "places365",
    "Places365: scene category",
    _add_arguments,
    lambda args: list_places(
        args.root, args.split, PlacesSelection(args.scenes, args.per_class, args.others, args.skip, args.seed)
    ),
)
