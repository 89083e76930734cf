"""Converter of image folders: any data set with a folder of images for each class."""

import os
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path

from vitrine.data.shards.converter import Converter, SampleSet, require_folder
from vitrine.data.shards.sample import Sample, make_key

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})
SPLITS = ("train", "val", "test")


def list_folder(root: Path, split: str | None = None) -> SampleSet:
    """Lists the images in a folder's class folders, which are sorted by name; hidden files are left out.

    Where ``root`` has split folders, the classes are those of all splits together, so that a class has the same index in
    every split.

    Args:
        root: folder of the class folders, or of the split folders train, val, test that hold them.
        split: the split folder to list; without split folders only the name of the split, "all" by default.

    Raises:
        FileNotFoundError: where ``root``, its split folder or its class folders are absent, or a class has no images.
        ValueError: where ``root`` has split folders and no split is given.
    """
    require_folder(root)
    splits = [name for name in SPLITS if (root / name).is_dir()]
    base = _split_folder(root, split, splits)
    siblings = [root / name for name in splits] if base != root else [root]
    classes = sorted({path.name for sibling in siblings for path in _class_folders(sibling)})
    samples = [
        Sample(make_key(relative), base / relative, label, extra={"source": relative.as_posix()})
        for label, name in enumerate(classes)
        if (base / name).is_dir()
        for relative in _list_images(base, name)
    ]
    return SampleSet(root.resolve().name, split or "all", classes, samples)


def _split_folder(root: Path, split: str | None, splits: list[str]) -> Path:
    if not splits:
        return root
    if split is not None:
        return require_folder(root / split)
    if all(path.name in SPLITS for path in _class_folders(root)):
        raise ValueError(f"{root} holds the split folders {', '.join(splits)}: say with --split which one to convert.")
    return root


def _class_folders(base: Path) -> list[Path]:
    folders = [path for path in base.iterdir() if path.is_dir() and not path.name.startswith(".")]
    if not folders:
        raise FileNotFoundError(f"{base} holds no class folders: give a folder with a folder of images for each class.")
    return folders


def _list_images(base: Path, name: str) -> list[Path]:
    images = sorted(_walk(base, base / name))
    if not images:
        raise FileNotFoundError(f"{base / name} holds no images ({', '.join(sorted(EXTENSIONS))}): fill or remove it.")
    return images


def _walk(base: Path, folder: Path) -> Iterator[Path]:
    """Image files, following links to folders, as class folders are often links into a larger set."""
    for path, folders, files in os.walk(folder, followlinks=True, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in EXTENSIONS:
                yield (Path(path) / name).relative_to(base)


def _raise(error: OSError) -> None:
    raise error


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, help="folder with a folder of images for each class")
    parser.add_argument("--split", help="folder under --root to convert (train, val, test), or the name of the split")


CONVERTER = Converter(
    "folder",
    "any set with a folder for each class: label",
    _add_arguments,
    lambda args: list_folder(args.root, args.split),
)
