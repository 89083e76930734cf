"""Boxes of ILSVRC as its XML files have them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

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
