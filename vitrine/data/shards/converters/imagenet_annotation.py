"""Annotation files of ImageNet: the wnids of its classes, and boxes in XML."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

_WNID = re.compile(r"n\d{8}")


def is_wnid(text: str) -> bool:
    """Whether a text is a WordNet id."""
    return _WNID.fullmatch(text) is not None


def read_wnids(path: Path) -> dict[str, str]:
    """Reads rows of a wnid and, where there is one, what it stands for, in their order.

    ``LOC_synset_mapping.txt``, ``words.txt`` and ``wnids.txt`` are such files.

    Raises:
        FileNotFoundError: The file is absent.
        ValueError: A row opens with no wnid, a wnid is doubled, or there is none at all.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: give a file with a wnid such as n01440764 in each row.")
    found: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        wnid, _, words = line.strip().replace("\t", " ").partition(" ")
        if not wnid:
            continue
        if not is_wnid(wnid):
            raise ValueError(f"{path}, line {number}, opens with {wnid!r}, which is no wnid such as n01440764.")
        if wnid in found:
            raise ValueError(f"{path}, line {number}, repeats {wnid}: remove one of the rows.")
        found[wnid] = words.strip()
    if not found:
        raise ValueError(f"{path} is empty: give a file with a wnid such as n01440764 in each row.")
    return found


def name_classes(wnids: Iterable[str], words: Mapping[str, str]) -> list[str]:
    """A name for each class: the first of its words, with the wnid where others share it ("crane"), or the wnid alone."""
    firsts = {wnid: words.get(wnid, "").partition(",")[0].strip() for wnid in wnids}
    shared = Counter(firsts.values())
    return [f"{name} ({wnid})" if name and shared[name] > 1 else name or wnid for wnid, name in firsts.items()]


Box = tuple[float, float, float, float]
_AGAIN = "unpack the official archive again"


@dataclass(frozen=True)
class AnnotatedObject:
    """An object's class and box."""

    name: str
    """A wnid; some training files have a plain name such as "Scottish_deerhound" in its place."""
    box: Box
    """Half open, from 0."""


@dataclass(frozen=True)
class AnnotationFile:
    """What an XML file says of its image."""

    size: tuple[float, float]
    """Width and height of the picture that was annotated; 0 where the file does not say."""
    objects: Sequence[AnnotatedObject]


def read_annotation(path: Path) -> AnnotationFile:
    """Reads an XML file of ``Annotations/CLS-LOC``.

    ILSVRC's boxes count pixels from 0 and hold both of their ends (an object that reaches the right edge of 500 pixels has
    xmax 499); here they become half open.

    Raises:
        ValueError: The file is broken, or a number in it cannot be read.
    """
    try:
        root = ET.parse(path).getroot()  # noqa: S314 - the official archive's, and expat stops entity bombs
    except ET.ParseError as error:
        raise ValueError(f"{path} is broken XML ({error}): {_AGAIN}.") from None
    width, height = _numbers([root.findtext(f"size/{side}", "0") for side in ("width", "height")], path, "size")
    return AnnotationFile((width, height), [_read_object(element, path) for element in root.findall("object")])


def scaled(box: Box, annotated: tuple[float, float], size: tuple[int, int]) -> Box:
    """A box of an annotated picture in an image that is of another size, as a few of the set are."""
    if annotated == size or not all(annotated):
        return box
    across, down = size[0] / annotated[0], size[1] / annotated[1]
    return box[0] * across, box[1] * down, box[2] * across, box[3] * down


def _read_object(element: ET.Element, path: Path) -> AnnotatedObject:
    name = element.findtext("name", "").strip()
    texts = [element.findtext(f"bndbox/{side}", "") for side in ("xmin", "ymin", "xmax", "ymax")]
    x0, y0, x1, y1 = _numbers(texts, path, f"box of {name or 'an object without name'}")
    return AnnotatedObject(name, (x0, y0, x1 + 1, y1 + 1))


def _numbers(texts: list[str], path: Path, what: str) -> list[float]:
    try:
        return [float(text) for text in texts]
    except ValueError as error:
        raise ValueError(f"{path}: the {what} cannot be read ({error}): {_AGAIN}.") from None
