"""A small VOCdevkit in its official layout."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

VOC_OBJECTS = {
    "000001": [("dog", 0, (1, 1, 20, 30)), ("person", 0, (11, 6, 40, 36))],
    "000002": [("cat", 0, (5, 5, 24, 24)), ("cat", 1, (30, 8, 48, 16))],
    "000003": [("person", 0, (2, 3, 12, 33)), ("bicycle", 1, (8, 20, 44, 36))],
    "000004": [("tvmonitor", 0, (4, 4, 28, 24))],
    "000005": [("aeroplane", 0, (1, 1, 48, 36))],
    "000006": [("dog", 0, (3, 2, 30, 20)), ("cat", 0, (20, 18, 46, 34)), ("dog", 1, (1, 24, 9, 35))],
    "000007": [],
    "000008": [("person", 1, (6, 1, 16, 36))],
    "000009": [("sofa", 0, (1, 10, 48, 36)), ("cat", 0, (10, 6, 26, 20))],
    "000010": [("person", 0, (20, 2, 40, 36)), ("dog", 0, (2, 14, 18, 34))],
}
"""By image: the name, whether it is difficult, and the box of each object."""
VOC_LISTS = {"train": range(1, 4), "val": range(4, 6), "trainval": range(1, 6), "test": range(6, 11)}


def write_voc(root: Path) -> Path:
    """VOCdevkit with ten images of 2007, 48 pixels wide and 36 high."""
    year = root / "VOC2007"
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (year / name).mkdir(parents=True)
    for split, numbers in VOC_LISTS.items():
        (year / f"ImageSets/Main/{split}.txt").write_text("".join(f"{number:06d}\n" for number in numbers))
    generator = np.random.default_rng(0)
    for name, objects in VOC_OBJECTS.items():
        Image.fromarray(generator.integers(0, 256, (36, 48, 3), dtype=np.uint8)).save(year / f"JPEGImages/{name}.jpg")
        (year / f"Annotations/{name}.xml").write_text(voc_annotation(name, objects))
    return root


def voc_annotation(name: str, objects: Sequence[tuple[str, int, tuple[int, int, int, int]]]) -> str:
    """An annotation file as the official archive has it; a person has a part with a box of its own."""
    text = f"<annotation>\n\t<folder>VOC2007</folder>\n\t<filename>{name}.jpg</filename>\n"
    text += "\t<size>\n\t\t<width>48</width>\n\t\t<height>36</height>\n\t\t<depth>3</depth>\n\t</size>\n"
    for kind, difficult, (x0, y0, x1, y1) in objects:
        box = f"<xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
        text += f"\t<object>\n\t\t<name>{kind}</name>\n\t\t<pose>Left</pose>\n\t\t<truncated>1</truncated>\n"
        text += f"\t\t<difficult>{difficult}</difficult>\n\t\t<bndbox>{box}</bndbox>\n"
        if kind == "person":
            text += f"\t\t<part>\n\t\t\t<name>head</name>\n\t\t\t<bndbox>{box}</bndbox>\n\t\t</part>\n"
        text += "\t</object>\n"
    return text + "</annotation>\n"
