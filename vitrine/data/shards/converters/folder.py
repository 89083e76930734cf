"""Converter of image folders: any data set with a folder of images for each class."""

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from vitrine.data.shards.converter import Converter, SampleSet, require_folder
from vitrine.data.shards.converters.split_folders import (
    canonical_split,
    find_splits,
    split_folders,
    union_of_classes,
)
from vitrine.data.shards.images import PICTURE_SUFFIXES
from vitrine.data.shards.picture_folders import FileId, LeftOut, PictureFolder, printable, sub_folders
from vitrine.data.shards.sample import Sample, make_key


def list_folder(root: Path, split: str | None = None) -> SampleSet:
    """Lists the images in a folder's class folders, which are sorted by name.

    Where ``root`` has split folders, the classes are those of all splits together, so that a class has the same index in
    every split. What is left out (hidden files, other files, broken links and so on) is counted in a note of the set.

    Args:
        root: folder of the class folders, or of the split folders that hold them: train, val and test, or training and so on.
        split: the split folder to list; without split folders only the name of the split, "all" by default.

    Raises:
        FileNotFoundError: where ``root``, its split folder or its class folders are absent, or a class has no images.
        ValueError: where ``root`` has split folders and no split is given, where it cannot be told whether folders are splits
            or classes, or where one file is an image of two classes.
    """
    require_folder(root)
    split = split or None
    splits = find_splits(root, split)
    base = splits[_name_in(splits, split)] if split is not None and splits else root
    classes = union_of_classes(list(splits.values()) or [root])
    left_out = LeftOut()
    folders = PictureFolder(base, left_out)
    folders.other_files(base)
    found = {name: _list_images(folders, name) for name in classes if (base / name).is_dir()}
    _check_one_class_each(base, found)
    labels = {name: label for label, name in enumerate(classes)}
    samples = [_make_sample(base, path, labels[name]) for name, images in found.items() for path, _ in images]
    notes = [*_notes(root, base, splits, [name for name in classes if name not in found]), *left_out.notes()]
    return SampleSet(root.resolve().name, canonical_split(split or "all"), classes, samples, notes=notes)


def has_split(root: Path, split: str) -> bool:
    """Whether ``root`` has a folder of a split, under any of its usual names."""
    return split in split_folders(root)


def _name_in(splits: dict[str, Path], split: str) -> str:
    return split if split in splits else canonical_split(split)


def _list_images(folders: PictureFolder, name: str) -> list[tuple[Path, FileId]]:
    images = list(folders.pictures(folders.base / name))
    if not images:
        suffixes = ", ".join(sorted(PICTURE_SUFFIXES))
        raise FileNotFoundError(f"{folders.base / name} holds no images ({suffixes}): fill or remove it.")
    return images


def _check_one_class_each(base: Path, found: dict[str, list[tuple[Path, FileId]]]) -> None:
    owner: dict[FileId, tuple[str, Path]] = {}
    for name, images in found.items():
        for path, file in images:
            other, first = owner.setdefault(file, (name, path))
            if other != name:
                raise ValueError(
                    f"{base / first} and {base / path} are one file under two classes, by a link: remove one of them."
                )


def _make_sample(base: Path, path: Path, label: int) -> Sample:
    return Sample(make_key(path), base / path, label, extra={"source": printable(path.as_posix())})


def _notes(root: Path, base: Path, splits: dict[str, Path], absent: Sequence[str]) -> list[str]:
    notes = []
    beside = [folder.name for folder in sub_folders(root) if splits and folder not in splits.values()]
    if beside:
        notes.append(f"{len(beside)} folders beside the splits were left out, such as {printable(beside[0])}.")
    if absent:
        notes.append(f"{len(absent)} classes of other splits have no images in {base.name}, such as {absent[0]}.")
    return notes


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, help="folder with a folder of images for each class")
    parser.add_argument("--split", help="folder under --root to convert, such as train, or the name of the split")


CONVERTER = Converter(
    "folder",
    "any set with a folder for each class: label",
    _add_arguments,
    lambda args: list_folder(args.root, args.split),
)
