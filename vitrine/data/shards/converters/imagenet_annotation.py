"""Annotation files of ImageNet: lists of wnids, and boxes in XML."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from vitrine.data.orientation import Size
from vitrine.data.shards.boxes import TOLERANCE
from vitrine.data.shards.documents import read_xml
from vitrine.data.shards.images import ImageSize
from vitrine.data.shards.text_lists import read_lines

_WNID = re.compile(r"n[0-9]{8}")


def is_wnid(text: str) -> bool:
    """Whether a text is a WordNet id, such as n01440764."""
    return _WNID.fullmatch(text) is not None


def read_wnids(path: Path) -> dict[str, str]:
    """Reads lines of a wnid and, optionally, its words, in their order; or the wnids that names in a folder begin with.

    ``LOC_synset_mapping.txt``, ``words.txt`` and ``wnids.txt`` are such files; the training images of ILSVRC are such a
    folder, and so is one of images like ``n01440764_tench.JPEG``.

    Raises:
        FileNotFoundError: where the file is absent.
        ValueError: where a line does not start with a wnid, a wnid is repeated, or there is none.
    """
    if path.is_dir():
        return _wnids_of_names(path)
    words_of: dict[str, str] = {}
    for line in read_lines(path, "give a file with a wnid such as n01440764 in each line"):
        wnid, _, words = line.text.replace("\t", " ").partition(" ")
        if not is_wnid(wnid):
            raise ValueError(f"{line.place} starts with {wnid!r}, which is no wnid such as n01440764.")
        if wnid in words_of:
            raise ValueError(f"{line.place} repeats {wnid}: remove one of the lines.")
        words_of[wnid] = words.strip()
    if not words_of:
        raise ValueError(f"{path} is empty: give a file with a wnid such as n01440764 in each line.")
    return words_of


def _wnids_of_names(folder: Path) -> dict[str, str]:
    """Wnids with which names in a folder begin, sorted, each with the words that follow it in the first such name."""
    words_of: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        wnid, _, words = path.stem.partition("_")
        if is_wnid(wnid):
            words_of.setdefault(wnid, words.replace("_", " ").strip())
    if not words_of:
        raise ValueError(f"{folder} holds no name that begins with a wnid such as n01440764; give another folder.")
    return words_of


def name_classes(wnids: Iterable[str], words: Mapping[str, str]) -> list[str]:
    """Names of classes: the first of their words, with the wnid where several share it ("crane"), or the wnid alone."""
    firsts = {wnid: words.get(wnid, "").partition(",")[0].strip() for wnid in wnids}
    shared = Counter(firsts.values())
    return [f"{name} ({wnid})" if name and shared[name] > 1 else name or wnid for wnid, name in firsts.items()]


Box = tuple[float, float, float, float]
_AGAIN = "unpack the official archive again"


@dataclass(frozen=True)
class AnnotatedObject:
    """Class and box of an object."""

    name: str
    """A wnid; in some training files a plain name such as "Scottish_deerhound"."""
    box: Box
    """x0, y0, x1, y1, half open, from 0."""


@dataclass(frozen=True)
class AnnotationFile:
    """Contents of an XML file."""

    size: tuple[float, float]
    """Width and height of the annotated image; 0 where the file lacks them."""
    objects: Sequence[AnnotatedObject]


def read_annotation(path: Path) -> AnnotationFile:
    """Reads an XML file of ``Annotations/CLS-LOC``.

    ILSVRC's boxes count pixels from 0 and include both ends (an object at the right edge of 500 pixels has xmax 499); the
    result is half open.

    Raises:
        ValueError: where the file is broken, or a number in it cannot be read.
    """
    root = read_xml(path, _AGAIN)
    width, height = _numbers([root.findtext(f"size/{side}", "0") for side in ("width", "height")], path, "size")
    return AnnotationFile((width, height), [_read_object(element, path) for element in root.findall("object")])


def drawn_size(annotated: tuple[float, float], size: ImageSize) -> Size:
    """The size of the image that an annotation was drawn on: as stored, or upright where its sides are in that order."""
    is_upright = (annotated[0] > annotated[1]) == (size.upright[0] > size.upright[1])
    return size.upright if all(annotated) and is_upright else size.stored


def scaled(box: Box, annotated: tuple[float, float], size: tuple[int, int]) -> Box:
    """A box, scaled from the size of the annotated image to that of the stored one; they differ for a few images.

    A box that ends at most a pixel outside of the annotated image ends at its border.
    """
    if annotated == size or not all(annotated):
        return box
    x_scale, y_scale = size[0] / annotated[0], size[1] / annotated[1]
    x1, y1 = (min(end, side) if end <= side + TOLERANCE else end for end, side in zip(box[2:], annotated, strict=True))
    return box[0] * x_scale, box[1] * y_scale, x1 * x_scale, y1 * y_scale


def _read_object(element: ET.Element, path: Path) -> AnnotatedObject:
    name = element.findtext("name", "").strip()
    texts = [element.findtext(f"bndbox/{side}", "") for side in ("xmin", "ymin", "xmax", "ymax")]
    x0, y0, x1, y1 = _numbers(texts, path, f"box of {name or 'an object without name'}")
    return AnnotatedObject(name, (x0, y0, x1 + 1, y1 + 1))


def _numbers(texts: list[str], path: Path, what: str) -> list[float]:
    try:
        return [_finite(text) for text in texts]
    except ValueError as error:
        raise ValueError(f"{path}: the {what} cannot be read ({error}): {_AGAIN}.") from None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no finite number")
    return number
