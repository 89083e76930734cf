"""Places365 as its official archives unpack: a scene category of each image."""

import random
from argparse import ArgumentParser, ArgumentTypeError
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vitrine.data.shards.converter import Converter, SampleSet, require_folder
from vitrine.data.shards.converters.folder import EXTENSIONS
from vitrine.data.shards.converters.scenes import ROOMS, canonical, find_scenes, positions, read_categories
from vitrine.data.shards.sample import Sample, make_key

SPLITS = ("train", "val")
CATEGORIES = "categories_places365.txt"
_LISTS = {"train": "places365_train_standard.txt", "val": "places365_val.txt"}
_IMAGE_FOLDERS = {
    "train": ("data_256_standard", "data_256", "data_large_standard", "data_large"),
    "val": ("val_256", "val_large"),
}
_LIST_FOLDERS = ("", "filelist_places365-standard")

_Names = dict[int, list[str]]
"""Images of each label, as paths below their split's folder: plain text, since there are 1.8 million of them."""


@dataclass(frozen=True)
class Share:
    """Which images of each category to take; the set has 1.8 million."""

    scenes: Sequence[str] | None = None
    """Categories to take images of; all without it."""
    per_class: int | None = None
    """Images of each of them, drawn at random; all without it."""
    others: int = 0
    """Images of each category that is not among ``scenes``, to learn from as negatives."""
    skip: int = 0
    """Images of each category that come before those taken, in the order of the draw: they were taken for another set."""
    seed: int = 0
    """Of the draw: with one seed, fewer images of a category are among more of them."""


ALL = Share()


def list_places(root: Path, split: str, share: Share = ALL) -> SampleSet:
    """Lists images of Places365, from either of its official layouts.

    One is ``places365_standard``, with ``train/CLASS/*.jpg`` and ``val/CLASS/*.jpg`` (easyformat). The other has the lists
    ``places365_train_standard.txt``, ``places365_val.txt`` and ``categories_places365.txt`` beside the images in
    ``data_256_standard`` and ``val_256`` (or ``data_large_standard`` and ``val_large``; the small ones go first).

    Labels are those of ``categories_places365.txt``, also where only some categories are taken, so that they are the
    places of a network's logits; an easyformat folder without that file has its class folders in sorted order, which is
    the same.

    Args:
        root: The folder with all of this.
        split: "train" or "val".
        share: Which images to take.

    Raises:
        FileNotFoundError: A list, a folder or the images of a category are absent.
        ValueError: A row of a list is malformed, or a scene is no category of the set.
    """
    require_folder(root)
    classes = place_classes(root)
    chosen = None if share.scenes is None else set(find_scenes(share.scenes, positions(classes), root))
    quotas = [share.per_class if chosen is None or label in chosen else share.others for label in range(len(classes))]
    base, by_label = (_by_folder if _is_easy(root) else _by_list)(root, split, classes, quotas)
    for label in sorted(chosen or ()):
        if not by_label.get(label):
            raise FileNotFoundError(f"{root} has no {split} images of {classes[label]}: unpack all of the archive.")
    samples = [
        _make_sample(base / name, label, root)
        for label in sorted(by_label)
        for name in _draw(by_label[label], quotas[label], share, classes[label])
    ]
    return SampleSet("places365", split, classes, samples)


def has_split(root: Path, split: str) -> bool:
    """Whether there are images of a split."""
    return _find(root, (split, *_IMAGE_FOLDERS[split])) is not None


def _make_sample(image: Path, label: int, root: Path) -> Sample:
    relative = image.relative_to(root)
    return Sample(make_key(relative), image, label, extra={"source": relative.as_posix()})


def place_classes(root: Path) -> list[str]:
    """The scene categories in the order of the labels.

    Raises:
        FileNotFoundError: There is neither a list of categories nor a folder of class folders.
        ValueError: The list of categories is malformed.
    """
    listed = _find(root, _LIST_FOLDERS, CATEGORIES)
    if listed is not None:
        return read_categories(listed)
    if not _is_easy(root):
        raise FileNotFoundError(
            f"{root} holds neither {CATEGORIES} nor class folders in train: give the folder places365_standard, or that of"
            " the official lists and images."
        )
    return sorted({path.name for split in SPLITS for path in _class_folders(root / split)})


def _is_easy(root: Path) -> bool:
    return any(_class_folders(root / split) for split in SPLITS)


def _class_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[!.]*") if path.is_dir())


def _find(root: Path, folders: Sequence[str], name: str = "") -> Path | None:
    return next((root / folder / name for folder in folders if (root / folder / name).exists()), None)


def _by_folder(root: Path, split: str, classes: list[str], quotas: list[int | None]) -> tuple[Path, _Names]:
    base, known = require_folder(root / split), positions(classes)
    found = {}
    for folder in _class_folders(base):
        label = known.get(canonical(folder.name))
        if label is None:
            raise ValueError(f"{folder} is the folder of no class that {CATEGORIES} lists: rename or remove it.")
        if quotas[label] != 0:
            images = (path for path in folder.glob("[!.]*") if path.suffix.lower() in EXTENSIONS)
            found[label] = sorted(f"{folder.name}/{path.name}" for path in images)
    return base, found


def _by_list(root: Path, split: str, classes: list[str], quotas: list[int | None]) -> tuple[Path, _Names]:
    path, base = _find(root, _LIST_FOLDERS, _LISTS[split]), _find(root, _IMAGE_FOLDERS[split])
    if path is None:
        raise FileNotFoundError(f"{root / _LISTS[split]} does not exist: unpack filelist_places365-standard.tar there.")
    if base is None:
        raise FileNotFoundError(
            f"{root} has no folder {' or '.join(_IMAGE_FOLDERS[split])}: unpack the archive of the {split} images there."
        )
    found: _Names = defaultdict(list)
    with path.open(encoding="utf-8") as rows:
        for number, row in enumerate(rows, start=1):
            name, _, label = row.strip().rpartition(" ")
            if not name or not label.isdigit() or int(label) >= len(classes):
                raise ValueError(
                    f"{path}, line {number}, is {row.strip()!r} and no image with a label below {len(classes)}:"
                    " unpack the archive again."
                )
            if quotas[int(label)] != 0:
                found[int(label)].append(name.strip("/ "))
    return base, found


def _draw(names: list[str], quota: int | None, share: Share, category: str) -> list[str]:
    if quota is None and not share.skip:
        return names
    shuffled = sorted(names)
    random.Random(f"{share.seed} {canonical(category)}").shuffle(shuffled)  # noqa: S311 - nothing secret
    return shuffled[share.skip :][:quota]


def _count(text: str) -> int:
    if not text.isdigit():
        raise ArgumentTypeError(f"{text!r} is no whole number of 0 or more")
    return int(text)


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, help="folder places365_standard, or of lists and images")
    parser.add_argument("--split", choices=SPLITS, required=True, help="which of the official splits")
    parser.add_argument(
        "--scenes", nargs="+", metavar="NAME", help=f"categories to take (all); rooms are {' '.join(ROOMS)}"
    )
    parser.add_argument(
        "--per-class", type=_count, metavar="N", help="images of each category, drawn with --seed (all)"
    )
    parser.add_argument("--others", type=_count, default=0, metavar="N", help="images of each other category (0)")
    parser.add_argument("--skip", type=_count, default=0, metavar="N", help="images of each that another set has (0)")


CONVERTER = Converter(
    "places365",
    "Places365: scene category",
    _add_arguments,
    lambda args: list_places(
        args.root, args.split, Share(args.scenes, args.per_class, args.others, args.skip, args.seed)
    ),
)
