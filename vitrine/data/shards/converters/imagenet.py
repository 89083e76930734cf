"""ILSVRC (ImageNet-1k) as its archives unpack: a class of each image, and boxes where their XML files are there."""

import random
import re
from argparse import ArgumentParser, ArgumentTypeError
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vitrine.data.shards.converter import Converter, SampleSet, require_folder
from vitrine.data.shards.converters.imagenet_annotation import (
    Box,
    is_wnid,
    name_classes,
    read_annotation,
    read_wnids,
    scaled,
)
from vitrine.data.shards.images import read_size
from vitrine.data.shards.sample import Sample

SPLITS = ("train", "val")
MAPPING, SOLUTION = "LOC_synset_mapping.txt", "LOC_val_solution.csv"
VALIDATION_COUNT = 50_000
_LISTS = {"train": "train_cls.txt", "val": "val.txt"}
_AGAIN = "unpack the official archive again"


@dataclass(frozen=True)
class Extras:
    """What stands beside the images, and which of them to take."""

    annotations: Path | None = None
    """Folder of XML files, where they are not at their official place."""
    ground_truth: Path | None = None
    """Classes of flat validation images, where neither ``LOC_val_solution.csv`` nor XML files are there; see
    ``read_ground_truth``."""
    blacklist: Path | None = None
    """Numbers of validation images to leave out."""
    per_class: int | None = None
    """Images of each class, drawn at random; all without it."""
    seed: int = 0
    """Of the draw."""


NOTHING = Extras()


@dataclass(frozen=True)
class _Item:
    image: Path
    wnid: str


def list_imagenet(root: Path, split: str, extras: Extras = NOTHING) -> SampleSet:
    """Lists images of ILSVRC, from either of its usual layouts.

    One is the archive of the localisation challenge: ``ILSVRC/Data/CLS-LOC/{train,val}``, ``ILSVRC/Annotations/CLS-LOC``,
    ``ILSVRC/ImageSets/CLS-LOC`` and ``LOC_synset_mapping.txt`` beside ``ILSVRC``. The other has the folders ``train`` and
    ``val`` alone. Training images stand in class folders, validation images in class folders or in one folder.

    Labels are places among the sorted wnids, which is the order of torchvision's networks. Boxes become half open. In
    ``val`` each image has its boxes; of the training images about two fifths have, the others get none, which a note
    counts.

    Args:
        root: The folder that holds ``ILSVRC``, that folder itself, or the one with ``train`` and ``val``.
        split: "train" or "val".
        extras: Further files, and which images to take.

    Raises:
        FileNotFoundError: A folder, a list, a validation image's XML file, or a class of a flat image is absent.
        ValueError: A file is broken, a wnid is none of the classes', or the blacklist goes beyond the validation images.
    """
    require_folder(root)
    images, annotations = _find_images(root, split), _find_annotations(root, split, extras.annotations)
    excluded = _excluded(extras.blacklist, split)
    items = [item for item in _list_items(root, images, split, annotations, extras) if item.image.stem not in excluded]
    words = _words(root)
    wnids = sorted(words or _known_wnids(root, items))
    positions = {wnid: place for place, wnid in enumerate(wnids)}
    if unknown := next((item for item in items if item.wnid not in positions), None):
        raise ValueError(f"{unknown.image} is of the class {unknown.wnid}, which {MAPPING} does not list: mend one.")
    boxes = None if annotations is None else _Boxes(annotations, may_lack=split == "train")
    samples = [_make_sample(item, positions, boxes, images) for item in _draw(items, extras)]
    kinds = () if boxes is None else ("boxes",)
    notes = [] if boxes is None else boxes.notes()
    return SampleSet("imagenet", split, name_classes(wnids, words), samples, kinds, notes=notes)


def read_ground_truth(path: Path) -> dict[str, str]:
    """The class of each image, by its name without folder and extension: a wnid, or a place among the sorted ones.

    ``LOC_val_solution.csv`` ("ILSVRC2012_val_00000021,n03995372 85 1 499 272") and rows of a name and a label, parted by a
    blank or a comma ("ILSVRC2012_val_00000001.JPEG 65") are read.

    Raises:
        FileNotFoundError: The file is absent.
        ValueError: A row is something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: give {SOLUTION}, or rows of an image's name and its wnid.")
    found: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        fields = line.replace(",", " ").split()
        if not fields or (number == 1 and fields[0] == "ImageId"):
            continue
        if len(fields) < 2 or not (is_wnid(fields[1]) or fields[1].isdigit()):
            raise ValueError(
                f"{path}, line {number}, is {line.strip()!r} and no image's name with its wnid: give {SOLUTION}"
                " (the numbers of ILSVRC's development kit are in an order of their own)."
            )
        found[Path(fields[0]).stem] = fields[1]
    return found


def has_split(root: Path, split: str) -> bool:
    """Whether there are images of a split."""
    return next(_image_folders(root, split), None) is not None


def _image_folders(root: Path, split: str) -> Iterator[Path]:
    places = (root / "ILSVRC" / "Data" / "CLS-LOC", root / "Data" / "CLS-LOC", root)
    return (place / split for place in places if (place / split).is_dir())


def _find_images(root: Path, split: str) -> Path:
    folder = next(_image_folders(root, split), None)
    if folder is None:
        raise FileNotFoundError(f"{root} has neither ILSVRC/Data/CLS-LOC/{split} nor {split}: {_AGAIN} there.")
    return folder


def _find_annotations(root: Path, split: str, given: Path | None) -> Path | None:
    if given is not None:
        require_folder(given)
        return given / split if (given / split).is_dir() else given
    places = (place / "Annotations" / "CLS-LOC" / split for place in (root / "ILSVRC", root))
    return next((place for place in places if place.is_dir()), None)


def _find_file(root: Path, name: str) -> Path | None:
    return next((folder / name for folder in (root, root.parent) if (folder / name).is_file()), None)


def _words(root: Path) -> dict[str, str]:
    path = _find_file(root, MAPPING)
    return {} if path is None else read_wnids(path)


def _known_wnids(root: Path, items: Iterable[_Item]) -> set[str]:
    """All class folders of both splits, so that a class has one index in both."""
    folders = (path for split in SPLITS for folder in _image_folders(root, split) for path in folder.iterdir())
    return {path.name for path in folders if path.is_dir() and is_wnid(path.name)} | {item.wnid for item in items}


def _list_items(root: Path, images: Path, split: str, annotations: Path | None, extras: Extras) -> list[_Item]:
    folders = sorted(path for path in images.iterdir() if path.is_dir() and not path.name.startswith("."))
    if strange := next((path for path in folders if not is_wnid(path.name)), None):
        raise ValueError(f"{strange} is named by no wnid such as n01440764: convert the set with the command folder.")
    if not folders and split == "train":
        raise FileNotFoundError(
            f"{images} holds no class folders such as n01440764: {_AGAIN}, with the archives in it."
        )
    listed = _read_list(root, split) if split == "train" or not folders else None
    if listed is not None:
        paths = [images / f"{name}.JPEG" for name in listed]
    else:
        paths = sorted(path for folder in folders or [images] for path in folder.glob("*.JPEG"))
    if not paths:
        raise FileNotFoundError(f"{images} holds no images (*.JPEG): {_AGAIN}.")
    if folders:
        return [_Item(path, path.parent.name) for path in paths]
    return list(_flat_items(paths, root, annotations, extras))


def _read_list(root: Path, split: str) -> list[str] | None:
    places = (place / "ImageSets" / "CLS-LOC" / _LISTS[split] for place in (root / "ILSVRC", root))
    path = next((place for place in places if place.is_file()), None)
    return None if path is None else [row.split()[0] for row in path.read_text(encoding="utf-8").splitlines() if row]


def _flat_items(paths: list[Path], root: Path, annotations: Path | None, extras: Extras) -> Iterator[_Item]:
    table = extras.ground_truth or _find_file(root, SOLUTION)
    if table is None and annotations is None:
        raise FileNotFoundError(
            f"{paths[0].parent} has no class folders, and there is no {SOLUTION} in {root}: give it with --ground-truth,"
            " or XML files with --annotations."
        )
    known = None if table is None else read_ground_truth(table)
    wnids = sorted(_words(root) or _known_wnids(root, ()))
    for path in paths:
        if known is None:
            yield _Item(path, _annotated_class(_require_xml(annotations, path)))  # type: ignore[arg-type]
        elif path.stem not in known:
            raise ValueError(
                f"{table} has no row for {path.stem}: give the ground truth of all images in {path.parent}."
            )
        else:
            yield _Item(path, _to_wnid(known[path.stem], wnids, path))


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
    names = Counter(item.name for item in read_annotation(path).objects if is_wnid(item.name))
    if not names:
        raise ValueError(f"{path} has no object that is named by a wnid, so its image has no class: {_AGAIN}.")
    return names.most_common(1)[0][0]


def _excluded(path: Path | None, split: str) -> set[str]:
    if path is None:
        return set()
    if split != "val":
        raise ValueError(f"The blacklist {path} is about validation images: leave it out with the split {split}.")
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: give ILSVRC2014_clsloc_validation_blacklist.txt.")
    names = set()
    for number, row in enumerate(path.read_text(encoding="utf-8").split(), start=1):
        if not re.fullmatch(r"\d+", row) or not 1 <= int(row) <= VALIDATION_COUNT:
            raise ValueError(f"{path}, entry {number}, is {row!r} and no number from 1 to {VALIDATION_COUNT}: mend it.")
        names.add(f"ILSVRC2012_val_{int(row):08d}")
    return names


def _require_xml(annotations: Path, image: Path) -> Path:
    path = _find_xml(annotations, image)
    if path is None:
        raise FileNotFoundError(f"{annotations / image.stem}.xml does not exist, but its image {image} does: {_AGAIN}.")
    return path


def _find_xml(annotations: Path, image: Path) -> Path | None:
    places = (annotations / image.parent.name, annotations)
    return next((place / f"{image.stem}.xml" for place in places if (place / f"{image.stem}.xml").is_file()), None)


class _Boxes:
    """Finds an image's boxes, and counts what the official files lack or have too much."""

    def __init__(self, folder: Path, *, may_lack: bool) -> None:
        self.folder = folder
        self.may_lack = may_lack
        self.without, self.left_out = 0, 0

    def of(self, item: _Item) -> list[Box]:
        path = _find_xml(self.folder, item.image) if self.may_lack else _require_xml(self.folder, item.image)
        if path is None:
            self.without += 1
            return []
        annotation, size = read_annotation(path), read_size(item.image)
        # Some training files name a dog's breed in place of the wnid, or have objects of another class.
        own = [found for found in annotation.objects if found.name == item.wnid or not is_wnid(found.name)]
        if self.may_lack:
            own = [found for found in own if found.box[0] < found.box[2] and found.box[1] < found.box[3]]
        self.left_out += len(annotation.objects) - len(own)
        return [scaled(found.box, annotation.size, size) for found in own]

    def notes(self) -> list[str]:
        """A sentence for each count that is not 0."""
        told = [f"{self.without} images have no XML file, so they have no boxes."] if self.without else []
        return told + ([f"{self.left_out} boxes were left out: of another class, or empty."] if self.left_out else [])


def _make_sample(item: _Item, positions: Mapping[str, int], boxes: _Boxes | None, base: Path) -> Sample:
    return Sample(
        key=item.image.stem,
        image=item.image,
        label=positions[item.wnid],
        boxes=None if boxes is None else boxes.of(item),
        extra={"source": item.image.relative_to(base.parent).as_posix(), "wnid": item.wnid},
    )


def _draw(items: list[_Item], extras: Extras) -> list[_Item]:
    if extras.per_class is None:
        return items
    by_class: dict[str, list[_Item]] = defaultdict(list)
    for item in items:
        by_class[item.wnid].append(item)
    drawn = []
    for wnid, members in sorted(by_class.items()):
        random.Random(f"{extras.seed} {wnid}").shuffle(members)  # noqa: S311 - nothing secret
        drawn += members[: extras.per_class]
    return drawn


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is no whole number of 1 or more")
    return int(text)


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, help="folder that holds ILSVRC, or train and val")
    parser.add_argument("--split", choices=SPLITS, required=True, help="which of the official splits")
    parser.add_argument("--annotations", type=Path, metavar="DIR", help="folder of the XML files with boxes")
    parser.add_argument(
        "--ground-truth", type=Path, metavar="FILE", help=f"classes of validation images in one folder ({SOLUTION})"
    )
    parser.add_argument("--blacklist", type=Path, metavar="FILE", help="numbers of validation images to leave out")
    parser.add_argument("--per-class", type=_count, metavar="N", help="images of each class, drawn with --seed (all)")


CONVERTER = Converter(
    "imagenet",
    "ILSVRC (ImageNet-1k): class, and boxes from XML files",
    _add_arguments,
    lambda args: list_imagenet(
        args.root,
        args.split,
        Extras(args.annotations, args.ground_truth, args.blacklist, args.per_class, args.seed),
    ),
)
