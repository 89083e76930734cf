"""Converter of ILSVRC (ImageNet-1k): a class for each image, and boxes where their XML files exist."""

import random
import re
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vitrine.core.options import Count, OptionError, Options
from vitrine.data.orientation import Size
from vitrine.data.shards.converter import Converter, SampleSet, number_type, require_folder
from vitrine.data.shards.converters.imagenet_annotation import (
    Box,
    drawn_size,
    is_wnid,
    name_classes,
    read_annotation,
    scaled,
)
from vitrine.data.shards.converters.imagenet_layout import (
    MAPPING,
    SOLUTION,
    SPLITS,
    ClassifiedImage,
    class_words,
    find_annotations,
    find_images,
    find_xml,
    known_wnids,
    list_images,
    require_xml,
)
from vitrine.data.shards.images import read_size
from vitrine.data.shards.picture_folders import LeftOut
from vitrine.data.shards.sample import Sample
from vitrine.data.shards.schema import Annotation
from vitrine.data.shards.text_lists import read_lines

NUM_VALIDATION = 50_000


@dataclass(frozen=True)
class ImageNetOptions(Options):
    """Further files of the set, and which images to take.

    Args:
        annotations: folder of XML files, where they are not at their official place.
        ground_truth: classes of flat validation images without ``LOC_val_solution.csv`` and XML files, see
            `read_ground_truth`.
        blacklist: numbers of validation images to leave out.
        per_class: number of images of each class, sampled at random; all without it.
        seed: of the sampling.
        classes: wnids of the classes to take, which become a set of their own: labels are positions among them, sorted; all
            without it.

    Raises:
        OptionError: for a ``per_class`` below 1.
    """

    annotations: Path | None = None
    ground_truth: Path | None = None
    blacklist: Path | None = None
    per_class: Count | None = None
    seed: int = 0
    classes: Sequence[str] | None = None


DEFAULTS = ImageNetOptions()


def list_imagenet(root: Path, split: str, options: ImageNetOptions = DEFAULTS) -> SampleSet:
    """Lists images of ILSVRC in either of its usual layouts.

    One is the archive of the localisation challenge: ``ILSVRC/Data/CLS-LOC/{train,val}``, ``ILSVRC/Annotations/CLS-LOC``,
    ``ILSVRC/ImageSets/CLS-LOC`` and ``LOC_synset_mapping.txt`` beside ``ILSVRC``. The other has only the folders ``train``
    and ``val``. Training images are in class folders, validation images in class folders or in one folder.

    Labels are positions among the sorted wnids, the order of torchvision's networks. Boxes become half open. In ``val`` each
    image has boxes; of the training images about two fifths have, and a note counts those without.

    Args:
        root: the folder that holds ``ILSVRC``, that folder itself, or the one with ``train`` and ``val``.
        split: "train" or "val".
        options: further files, and which images to take.

    Raises:
        FileNotFoundError: where a folder, a list, a validation image's XML file, or a class of a flat image is absent.
        ValueError: where a file is broken, a wnid is not that of a class, or the blacklist exceeds the validation images.
    """
    require_folder(root)
    folder, annotations = find_images(root, split), find_annotations(root, split, options.annotations)
    blacklist = _read_blacklist(options.blacklist, split)
    left_out = LeftOut()
    all_images = list_images(root, folder, split, annotations, options.ground_truth, left_out)
    words = class_words(root)
    wnids = sorted(words or known_wnids(root, all_images))
    wanted = wnids if options.classes is None else _chosen_wnids(options.classes, wnids)
    others = set(wnids) - set(wanted)
    images = [image for image in all_images if image.image.stem not in blacklist and image.wnid not in others]
    wnids = wanted
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    if unknown := next((image for image in images if image.wnid not in label_of), None):
        raise ValueError(f"{unknown.image} is of the class {unknown.wnid}, which {MAPPING} does not list: correct one.")
    boxes = None if annotations is None else _BoxReader(annotations, may_lack=split == "train")
    samples = [_make_sample(image, label_of, boxes, folder) for image in _sample(images, options)]
    kinds: tuple[Annotation, ...] = () if boxes is None else ("boxes",)
    notes = [*([] if boxes is None else boxes.notes()), *left_out.notes()]
    return SampleSet("imagenet", split, name_classes(wnids, words), samples, kinds, notes=notes)


def _chosen_wnids(classes: Sequence[str], known: Sequence[str]) -> list[str]:
    """The chosen wnids, sorted.

    Raises:
        OptionError: for one that the set does not have, and for none.
    """
    unknown = next((wnid for wnid in classes if wnid not in known), None)
    if unknown is not None or not classes:
        wanted = f"wnids of the set's {len(known)} classes, such as {known[0] if known else 'n01440764'}"
        raise OptionError("classes", unknown if classes else "[]", wanted)
    return sorted(set(classes))


def _read_blacklist(path: Path | None, split: str) -> set[str]:
    if path is None:
        return set()
    if split != "val":
        raise ValueError(f"The blacklist {path} is about validation images: leave it out with the split {split}.")
    names = set()
    lines = read_lines(path, "give ILSVRC2014_clsloc_validation_blacklist.txt")
    for number, entry in enumerate((entry for line in lines for entry in line.text.split()), start=1):
        if not re.fullmatch(r"[0-9]{1,9}", entry) or not 1 <= int(entry) <= NUM_VALIDATION:
            raise ValueError(
                f"{path}, entry {number}, is {entry!r} and no number from 1 to {NUM_VALIDATION}: correct it."
            )
        names.add(f"ILSVRC2012_val_{int(entry):08d}")
    return names


class _BoxReader:
    """Reads the boxes of images, and counts missing files and boxes left out."""

    def __init__(self, folder: Path, *, may_lack: bool) -> None:
        self.folder = folder
        self.may_lack = may_lack
        self.num_without, self.num_left_out = 0, 0

    def of(self, image: ClassifiedImage) -> tuple[list[Box], Size | None]:
        """The boxes of an image, and the size of the image that they fit."""
        path = find_xml(self.folder, image.image) if self.may_lack else require_xml(self.folder, image.image)
        if path is None:
            self.num_without += 1
            return [], None
        annotation, size = read_annotation(path), read_size(image.image)
        # Some training files have the name of a dog breed in place of its wnid, or objects of another class.
        objects = [entry for entry in annotation.objects if entry.name == image.wnid or not is_wnid(entry.name)]
        if self.may_lack:
            objects = [entry for entry in objects if entry.box[0] < entry.box[2] and entry.box[1] < entry.box[3]]
        self.num_left_out += len(annotation.objects) - len(objects)
        fitted = drawn_size(annotation.size, size)
        return [scaled(entry.box, annotation.size, fitted) for entry in objects], fitted

    def notes(self) -> list[str]:
        """A sentence for each count above 0."""
        notes = [f"{self.num_without} images have no XML file, so they have no boxes."] if self.num_without else []
        if self.num_left_out:
            notes.append(f"{self.num_left_out} boxes were left out: of another class, or empty.")
        return notes


def _make_sample(image: ClassifiedImage, label_of: Mapping[str, int], boxes: _BoxReader | None, folder: Path) -> Sample:
    of_image, fitted = (None, None) if boxes is None else boxes.of(image)
    return Sample(
        key=image.image.stem,
        image=image.image,
        label=label_of[image.wnid],
        boxes=of_image,
        annotated_size=fitted,
        extra={"source": image.image.relative_to(folder.parent).as_posix(), "wnid": image.wnid},
    )


def _sample(images: list[ClassifiedImage], options: ImageNetOptions) -> list[ClassifiedImage]:
    if options.per_class is None:
        return images
    by_class: dict[str, list[ClassifiedImage]] = defaultdict(list)
    for image in images:
        by_class[image.wnid].append(image)
    sampled = []
    for wnid, of_class in sorted(by_class.items()):
        random.Random(f"{options.seed} {wnid}").shuffle(of_class)  # noqa: S311 - not for cryptography
        sampled += of_class[: options.per_class]
    return sampled


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, help="folder that holds ILSVRC, or train and val")
    parser.add_argument("--split", choices=SPLITS, required=True, help="which of the official splits")
    parser.add_argument("--annotations", type=Path, metavar="DIR", help="folder of the XML files with boxes")
    parser.add_argument(
        "--ground-truth", type=Path, metavar="FILE", help=f"classes of validation images in one folder ({SOLUTION})"
    )
    parser.add_argument("--blacklist", type=Path, metavar="FILE", help="numbers of validation images to leave out")
    parser.add_argument(
        "--per-class", type=number_type(Count), metavar="N", help="images of each class, sampled with --seed (all)"
    )
    parser.add_argument("--classes", nargs="+", metavar="WNID", help="classes to take, as a set of their own (all)")


CONVERTER = Converter(
    "imagenet",
    "ILSVRC (ImageNet-1k): class, and boxes from XML files",
    _add_arguments,
    lambda args: list_imagenet(
        args.root,
        args.split,
        ImageNetOptions(args.annotations, args.ground_truth, args.blacklist, args.per_class, args.seed, args.classes),
    ),
)
