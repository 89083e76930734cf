"""Small ImageNet, Tiny ImageNet, MNIST and saliency folders in their official layouts."""

import gzip
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WNIDS = {
    "n01440764": "tench, Tinca tinca",
    "n02012849": "crane",
    "n03126707": "crane",
}
"""Three classes of ImageNet-1k in its order; two share a name."""
SIZE = (12, 10)

Box = tuple[int, int, int, int]
Objects = Iterable[tuple[str, Box]]


def write_picture(path: Path, seed: int = 0, size: tuple[int, int] = SIZE) -> Path:
    """A small picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, format="PNG" if path.suffix == ".png" else "JPEG")
    return path


def write_idx(path: Path, values: NDArray[np.uint8]) -> Path:
    """A gzipped file as MNIST's archives are: 0, 0, type 8, dimensions, big-endian sizes, bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    path.write_bytes(gzip.compress(head + values.tobytes()))
    return path


def write_mnist(root: Path, per_class: int = 3) -> Path:
    """MNIST/raw with digits of ten classes: each its own blots, with noise."""
    generator = np.random.default_rng(0)
    blots = np.kron(generator.integers(0, 2, (10, 7, 7)), np.ones((4, 4))) * 150
    for name, count in (("train", 10 * per_class), ("t10k", 20)):
        labels = generator.permutation(np.arange(count) % 10)
        images = (blots[labels] + generator.integers(0, 105, (count, 28, 28))).astype(np.uint8)
        write_idx(root / "raw" / f"{name}-images-idx3-ubyte.gz", images)
        write_idx(root / "raw" / f"{name}-labels-idx1-ubyte.gz", labels.astype(np.uint8))
    return root


def write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def annotation(stem: str, objects: Objects, size: tuple[int, int] = SIZE) -> str:
    """An XML file as Annotations/CLS-LOC has it."""
    text = f"<annotation>\n\t<folder>val</folder>\n\t<filename>{stem}</filename>\n"
    text += "\t<source>\n\t\t<database>ILSVRC_2012</database>\n\t</source>\n"
    text += f"\t<size>\n\t\t<width>{size[0]}</width>\n\t\t<height>{size[1]}</height>\n\t\t<depth>3</depth>\n\t</size>\n"
    text += "\t<segmented>0</segmented>\n"
    for name, (x0, y0, x1, y1) in objects:
        text += f"\t<object>\n\t\t<name>{name}</name>\n\t\t<pose>Unspecified</pose>\n\t\t<truncated>0</truncated>\n"
        text += f"\t\t<difficult>0</difficult>\n\t\t<bndbox>\n\t\t\t<xmin>{x0}</xmin>\n\t\t\t<ymin>{y0}</ymin>\n"
        text += f"\t\t\t<xmax>{x1}</xmax>\n\t\t\t<ymax>{y1}</ymax>\n\t\t</bndbox>\n\t</object>\n"
    return text + "</annotation>\n"


VAL_OBJECTS: dict[int, list[tuple[str, Box]]] = {
    1: [("n03126707", (0, 0, 11, 9))],
    2: [("n01440764", (2, 3, 4, 5)), ("n01440764", (7, 1, 11, 6))],
    3: [("n02012849", (5, 5, 5, 8))],
    4: [("n01440764", (1, 2, 8, 9))],
}
"""Boxes of the validation images by their numbers, as the files have them: from 0, with both ends."""


def val_name(number: int) -> str:
    return f"ILSVRC2012_val_{number:08d}"


def write_imagenet(root: Path, per_class: int = 2) -> Path:
    """The archive of the localisation challenge, with three classes; the first training image of two has an XML file."""
    data, boxes, lists = (root / "ILSVRC" / kind / "CLS-LOC" for kind in ("Data", "Annotations", "ImageSets"))
    names = [f"{wnid}/{wnid}_{10 * number}" for wnid in WNIDS for number in range(per_class)]
    for seed, name in enumerate(names):
        write_picture(data / "train" / f"{name}.JPEG", seed)
    for wnid in list(WNIDS)[:2]:
        own = [(wnid, (1, 1, 6, 6)), (list(WNIDS)[2], (0, 0, 3, 3)), ("Scottish_deerhound", (2, 0, 11, 4))]
        write_text(boxes / "train" / wnid / f"{wnid}_0.xml", annotation(f"{wnid}_0", own))
    for number, objects in VAL_OBJECTS.items():
        write_picture(data / "val" / f"{val_name(number)}.JPEG", 100 + number)
        write_text(boxes / "val" / f"{val_name(number)}.xml", annotation(val_name(number), objects))
    write_picture(data / "test" / "ILSVRC2012_test_00000001.JPEG")
    write_text(lists / "train_cls.txt", "".join(f"{name} {row}\n" for row, name in enumerate(names, start=1)))
    write_text(lists / "val.txt", "".join(f"{val_name(number)} {number}\n" for number in VAL_OBJECTS))
    write_text(root / "LOC_synset_mapping.txt", "".join(f"{wnid} {words}\n" for wnid, words in WNIDS.items()))
    rows = "".join(f"{val_name(number)},{solution(objects)} \n" for number, objects in VAL_OBJECTS.items())
    write_text(root / "LOC_val_solution.csv", f"ImageId,PredictionString\n{rows}")
    return root


def solution(objects: Objects) -> str:
    return " ".join(f"{name} {' '.join(map(str, box))}" for name, box in objects)


def write_tiny_imagenet(root: Path, per_class: int = 2, order: Sequence[str] = tuple(reversed(WNIDS))) -> Path:
    """tiny-imagenet-200 with three classes, whose order is not the sorted one."""
    write_text(root / "wnids.txt", "".join(f"{wnid}\n" for wnid in order))
    write_text(root / "words.txt", "n00001740\tentity\n" + "".join(f"{w}\t{words}\n" for w, words in WNIDS.items()))
    for wnid in order:
        names = [f"{wnid}_{number}.JPEG" for number in range(per_class)]
        rows = [f"{name}\t{number}\t0\t63\t{30 + number}\n" for number, name in enumerate(names)]
        write_text(root / "train" / wnid / f"{wnid}_boxes.txt", "".join(rows))
        for seed, name in enumerate(names):
            write_picture(root / "train" / wnid / "images" / name, seed, (64, 64))
    rows = [f"val_{number}.JPEG\t{wnid}\t10\t20\t10\t62\n" for number, wnid in enumerate(WNIDS)]
    write_text(root / "val" / "val_annotations.txt", "".join(rows))
    for seed in range(3):
        write_picture(root / "val" / "images" / f"val_{seed}.JPEG", 50 + seed, (64, 64))
    write_picture(root / "test" / "images" / "test_0.JPEG", 90, (64, 64))
    return root


def write_mask(path: Path, values: Sequence[int] = (0, 127, 128, 255), size: tuple[int, int] = SIZE) -> Path:
    """A grey mask whose columns have these values in turn."""
    path.parent.mkdir(parents=True, exist_ok=True)
    row = np.array([values[column % len(values)] for column in range(size[0])], dtype=np.uint8)
    Image.fromarray(np.tile(row, (size[1], 1))).save(path)
    return path


SALIENCY_FOLDERS = {
    "MSRA-B": (".", "."),
    "ECSSD": ("images", "ground_truth_mask"),
    "DUTS-TE": ("DUTS-TE-Image", "DUTS-TE-Mask"),
    "DUTS-TR": ("DUTS-TR-Image", "DUTS-TR-Mask"),
}


def write_saliency(root: Path, layout: str = "MSRA-B", count: int = 3) -> Path:
    """Pairs of an image and a mask in one of the layouts."""
    images, masks = SALIENCY_FOLDERS[layout]
    for number in range(count):
        write_picture(root / images / f"0_{number}.jpg", number)
        write_mask(root / masks / f"0_{number}.png")
    return root
