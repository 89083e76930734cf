"""Folder layouts of ILSVRC: where its archives have images, classes, boxes and lists."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vitrine.data.shards.converter import require_folder
from vitrine.data.shards.converters.imagenet_annotation import is_wnid, read_annotation, read_wnids
from vitrine.data.shards.picture_folders import LeftOut, PictureFolder
from vitrine.data.shards.text_lists import read_lines, relative_name

SPLITS = ("train", "val")
MAPPING, SOLUTION = "LOC_synset_mapping.txt", "LOC_val_solution.csv"
_LISTS = {"train": "train_cls.txt", "val": "val.txt"}
_AGAIN = "unpack the official archive again"


@dataclass(frozen=True)
class ClassifiedImage:
    """An image and the wnid of its class."""

    image: Path
    wnid: str


def read_ground_truth(path: Path) -> dict[str, str]:
    """The class of each image, by its name without folder and extension: a wnid, or an index among the sorted wnids.

    It reads ``LOC_val_solution.csv`` ("ILSVRC2012_val_00000021,n03995372 85 1 499 272"), and lines of a name and a label,
    separated by a blank or a comma ("ILSVRC2012_val_00000001.JPEG 65").

    Raises:
        FileNotFoundError: where the file is absent.
        ValueError: for other lines.
    """
    class_of: dict[str, str] = {}
    for line in read_lines(path, f"give {SOLUTION}, or lines of an image's name and its wnid"):
        fields = line.text.replace(",", " ").split()
        if fields[:1] == ["ImageId"] and not class_of:
            continue
        if len(fields) < 2 or not (is_wnid(fields[1]) or re.fullmatch("[0-9]{1,9}", fields[1])):
            raise ValueError(
                f"{line.place} is {line.text!r} and no image's name with its wnid: give {SOLUTION}"
                " (the numbers of ILSVRC's development kit are in another order)."
            )
        name = Path(fields[0]).stem
        if class_of.setdefault(name, fields[1]) != fields[1]:
            raise ValueError(f"{line.place} gives {name} another class than a line before: remove one of them.")
    return class_of


def has_split(root: Path, split: str) -> bool:
    """Whether there are images of a split."""
    return next(_image_folders(root, split), None) is not None


def _image_folders(root: Path, split: str) -> Iterator[Path]:
    parents = (root / "ILSVRC" / "Data" / "CLS-LOC", root / "Data" / "CLS-LOC", root)
    return (parent / split for parent in parents if (parent / split).is_dir())


def find_images(root: Path, split: str) -> Path:
    """The folder of a split's images.

    Raises:
        FileNotFoundError: where there is none.
    """
    folder = next(_image_folders(root, split), None)
    if folder is None:
        raise FileNotFoundError(f"{root} has neither ILSVRC/Data/CLS-LOC/{split} nor {split}: {_AGAIN} there.")
    return folder


def find_annotations(root: Path, split: str, folder: Path | None) -> Path | None:
    """The folder of a split's XML files, in ``folder`` or else at its official place; None where there is none."""
    if folder is not None:
        require_folder(folder)
        return folder / split if (folder / split).is_dir() else folder
    folders = (parent / "Annotations" / "CLS-LOC" / split for parent in (root / "ILSVRC", root))
    return next((path for path in folders if path.is_dir()), None)


def _find_file(root: Path, name: str) -> Path | None:
    return next((folder / name for folder in (root, root.parent) if (folder / name).is_file()), None)


def class_words(root: Path) -> dict[str, str]:
    """The words of each wnid, from ``LOC_synset_mapping.txt``; empty without that file."""
    path = _find_file(root, MAPPING)
    return {} if path is None else read_wnids(path)


def known_wnids(root: Path, images: Iterable[ClassifiedImage]) -> set[str]:
    """The wnids of images and of the class folders of both splits, so that a class has one index in both splits."""
    folders = (path for split in SPLITS for folder in _image_folders(root, split) for path in folder.iterdir())
    return {path.name for path in folders if path.is_dir() and is_wnid(path.name)} | {image.wnid for image in images}


def list_images(
    root: Path,
    images: Path,
    split: str,
    annotations: Path | None,
    ground_truth: Path | None,
    left_out: LeftOut | None = None,
) -> list[ClassifiedImage]:
    """The images of a split with their classes.

    Args:
        root: folder of the set.
        images: from `find_images`.
        split: "train" or "val".
        annotations: from `find_annotations`.
        ground_truth: classes of flat images, see `read_ground_truth`.
        left_out: takes what is no picture.

    Raises:
        FileNotFoundError: where there are no images, or a flat image has no class.
        ValueError: where a folder is not named by a wnid, or a label is not that of a known class.
    """
    folders = sorted(path for path in images.iterdir() if path.is_dir() and not path.name.startswith("."))
    if unknown := next((path for path in folders if not is_wnid(path.name)), None):
        raise ValueError(f"{unknown} is named by no wnid such as n01440764: convert the set with the command folder.")
    if not folders and split == "train":
        raise FileNotFoundError(
            f"{images} holds no class folders such as n01440764: {_AGAIN}, with the archives in it."
        )
    names = _read_list(root, split) if split == "train" or not folders else None
    if names is not None:
        paths = [images / f"{name}.JPEG" for name in names]
    else:
        below = PictureFolder(images, LeftOut() if left_out is None else left_out)
        paths = [images / path for folder in folders or [images] for path, _ in below.pictures(folder, deep=False)]
    if not paths:
        raise FileNotFoundError(f"{images} holds no images (*.JPEG): {_AGAIN}.")
    if folders:
        return [ClassifiedImage(path, path.parent.name) for path in paths]
    return list(_flat_images(paths, root, annotations, ground_truth))


def _read_list(root: Path, split: str) -> list[str] | None:
    paths = (parent / "ImageSets" / "CLS-LOC" / _LISTS[split] for parent in (root / "ILSVRC", root))
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        return None
    names: dict[str, None] = {}
    for line in read_lines(path, _AGAIN):
        name = relative_name(line.text.split()[0], line)
        if name in names:
            raise ValueError(f"{line.place} repeats {name}: remove one of the lines.")
        names[name] = None
    return list(names)


def _flat_images(
    paths: list[Path], root: Path, annotations: Path | None, ground_truth: Path | None
) -> Iterator[ClassifiedImage]:
    table = ground_truth or _find_file(root, SOLUTION)
    if table is None and annotations is None:
        raise FileNotFoundError(
            f"{paths[0].parent} has no class folders, and there is no {SOLUTION} in {root}: give it with --ground-truth,"
            " or XML files with --annotations."
        )
    class_of = None if table is None else read_ground_truth(table)
    wnids = sorted(class_words(root) or known_wnids(root, ()))
    for path in paths:
        if class_of is None:
            yield ClassifiedImage(path, _annotated_class(require_xml(annotations, path)))  # type: ignore[arg-type]
        elif path.stem not in class_of:
            raise ValueError(
                f"{table} has no line for {path.stem}: give the ground truth of all images in {path.parent}."
            )
        else:
            yield ClassifiedImage(path, _to_wnid(class_of[path.stem], wnids, path))


def _to_wnid(label: str, wnids: list[str], path: Path) -> str:
    if is_wnid(label):
        return label
    if int(label) >= len(wnids):
        raise ValueError(
            f"The ground truth gives {path.stem} the label {label}, but {len(wnids)} classes are known: put {MAPPING}"
            " beside the images."
        )
    return wnids[int(label)]


def _annotated_class(path: Path) -> str:
    names = Counter(entry.name for entry in read_annotation(path).objects if is_wnid(entry.name))
    if not names:
        raise ValueError(f"{path} has no object that is named by a wnid, so its image has no class: {_AGAIN}.")
    return names.most_common(1)[0][0]


def require_xml(annotations: Path, image: Path) -> Path:
    """The XML file of an image.

    Raises:
        FileNotFoundError: where there is none.
    """
    path = find_xml(annotations, image)
    if path is None:
        raise FileNotFoundError(f"{annotations / image.stem}.xml does not exist, but its image {image} does: {_AGAIN}.")
    return path


def find_xml(annotations: Path, image: Path) -> Path | None:
    """The XML file of an image; None where there is none."""
    paths = (folder / f"{image.stem}.xml" for folder in (annotations / image.parent.name, annotations))
    return next((path for path in paths if path.is_file()), None)
