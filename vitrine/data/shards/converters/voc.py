"""Converter of PASCAL VOC: the classes of each image, and box, class and difficult flag of each object."""

from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from vitrine.data.shards.converter import Converter, SampleSet, require_folder
from vitrine.data.shards.documents import read_xml
from vitrine.data.shards.images import read_size
from vitrine.data.shards.sample import Sample, make_key
from vitrine.data.shards.text_lists import Line, read_lines, relative_name

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
VOC_SPLITS = ("train", "val", "trainval", "test")
_AGAIN = "unpack the official archive again"


def list_voc(root: Path, split: str, year: int = 2007) -> SampleSet:
    """Lists the images that ``ImageSets/Main/{split}.txt`` names.

    VOC's boxes count pixels from 1 and include both ends; the results are half open from 0. The labels of an image are all
    classes with an object in it. Where all objects of a class are flagged ``difficult``, VOC's own evaluation ignores the
    image for that class; here it is a positive, and ``box_difficult`` has the flags.

    Args:
        root: the folder VOCdevkit, or the folder of a year within it.
        split: "train", "val", "trainval" or "test".
        year: the year's folder of VOCdevkit; ignored where ``root`` is a year's folder itself.

    Raises:
        FileNotFoundError: where the list of the split, an annotation file or an image is absent.
        ValueError: where an annotation file is broken, names a class that is not one of the 20, or has neither the stored
            nor the upright size of its image.
    """
    folder = year_folder(root, year)
    path = split_list(folder, split)
    lines = _listed(path, f"unpack the archive that has the split {split} into {root}")
    samples = [_make_sample(folder, name, line) for name, line in lines.items()]
    return SampleSet(folder.resolve().name.lower(), split, CLASSES, samples, ("boxes",), multi_label=True)


def year_folder(root: Path, year: int = 2007) -> Path:
    """The folder with ``ImageSets``: ``root``, or its sub-folder of a year.

    Raises:
        FileNotFoundError: where neither has ``ImageSets``.
    """
    require_folder(root)
    for folder in (root, root / f"VOC{year}"):
        if (folder / "ImageSets" / "Main").is_dir():
            return folder
    raise FileNotFoundError(
        f"{root} holds neither ImageSets/Main nor VOC{year}/ImageSets/Main: give the folder VOCdevkit as --root."
    )


def split_list(folder: Path, split: str) -> Path:
    """Path of the file that lists a split's images."""
    return folder / "ImageSets" / "Main" / f"{split}.txt"


def _listed(path: Path, remedy: str) -> dict[str, Line]:
    """The names of a list, each with its line."""
    lines: dict[str, Line] = {}
    for line in read_lines(path, remedy):
        if len(line.text.split()) != 1:
            raise ValueError(
                f"{line.place} is {line.text!r} in place of the name of one image: give the list of a split."
            )
        name = relative_name(line.text, line)
        if name in lines:
            raise ValueError(f"{line.place} repeats {name}, which line {lines[name].number} lists: remove one of them.")
        lines[name] = line
    return lines


@dataclass(frozen=True)
class _Object:
    label: int
    box: tuple[float, float, float, float]
    difficult: float


def _make_sample(folder: Path, name: str, line: Line) -> Sample:
    image, annotation = folder / "JPEGImages" / f"{name}.jpg", folder / "Annotations" / f"{name}.xml"
    for path in (image, annotation):
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist though {line.place} lists {name}: {_AGAIN}.")
    tree = read_xml(annotation, _AGAIN)
    objects = list(_read_objects(tree, annotation))
    return Sample(
        key=make_key(name),
        image=image,
        label=sorted({item.label for item in objects}),
        boxes=[item.box for item in objects],
        box_labels=[item.label for item in objects],
        box_difficult=[item.difficult for item in objects],
        annotated_size=_annotated_size(tree, annotation, image),
        extra={"source": image.relative_to(folder).as_posix()},
    )


def _annotated_size(root: ET.Element, path: Path, image: Path) -> tuple[int, int] | None:
    """Width and height in an annotation file, those of its image; None where they are absent or 0, as in some files."""
    texts = [root.findtext(f"size/{side}", "0").strip() for side in ("width", "height")]
    try:
        width, height = (int(float(text or 0)) for text in texts)
    except (ValueError, OverflowError):
        raise ValueError(f"{path}: the size {' x '.join(texts)} cannot be read: {_AGAIN}.") from None
    if not width or not height:
        return None
    actual = read_size(image)
    if (width, height) not in {actual.stored, actual.upright}:
        raise ValueError(
            f"{path} is of an image of {width} x {height}, but {image} is {actual.stored[0]} x {actual.stored[1]}: its boxes"
            " would be off; restore the image or the annotation."
        )
    return width, height


def _read_objects(root: ET.Element, path: Path) -> Iterator[_Object]:
    for number, element in enumerate(root.findall("object"), start=1):
        # The parts of a person (head, hands) are nested in its object, with their own names and boxes.
        name = element.findtext("name", "").strip()
        if name not in CLASSES:
            raise ValueError(f"{path}: object {number} is a {name!r}, none of the 20 classes of VOC: {_AGAIN}.")
        texts = [element.findtext(f"bndbox/{side}", "") for side in ("xmin", "ymin", "xmax", "ymax")]
        x0, y0, x1, y1, difficult = _numbers([*texts, element.findtext("difficult", "0")], path, number)
        yield _Object(CLASSES.index(name), (x0 - 1, y0 - 1, x1, y1), difficult)


def _numbers(texts: list[str], path: Path, number: int) -> list[float]:
    try:
        return [float(text) for text in texts]
    except ValueError as error:
        raise ValueError(f"{path}: the box or flag of object {number} cannot be read ({error}): {_AGAIN}.") from None


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, help="folder VOCdevkit, or a year's folder in it")
    parser.add_argument("--split", choices=VOC_SPLITS, required=True, help="which of the lists in ImageSets/Main")
    parser.add_argument("--year", type=int, default=2007, help="which year's folder of VOCdevkit (2007)")


CONVERTER = Converter(
    "voc",
    "PASCAL VOC: several labels, and boxes with class and difficult flag",
    _add_arguments,
    lambda args: list_voc(args.root, args.split, args.year),
)
