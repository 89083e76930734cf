"""Converter of Tiny ImageNet: 200 of ILSVRC's classes at 64 x 64 pixels, with a box for each image."""

from argparse import ArgumentParser
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from vitrine.data.shards.converter import Converter, SampleSet, require_folder
from vitrine.data.shards.converters.imagenet_annotation import name_classes, read_wnids
from vitrine.data.shards.sample import Sample
from vitrine.data.shards.text_lists import Line, read_lines, read_numbers, relative_name

SPLITS = ("train", "val")
CLASS_INDICES = ("own", "imagenet")
_WNIDS, _WORDS = "wnids.txt", "words.txt"
_IMAGENET_COUNT = 1000
_AGAIN = "unpack the official archive again"


def list_tiny_imagenet(root: Path, split: str, class_index: str = "own", wnids: Path | None = None) -> SampleSet:
    """Lists the images of a split with their boxes, which are made half open.

    Args:
        root: the folder ``tiny-imagenet-200``, with ``wnids.txt``, ``train`` and ``val``.
        split: "train" or "val"; the images of ``test`` have no class and no box.
        class_index: "own": labels are positions in ``wnids.txt``. "imagenet": positions among the 1,000 classes of ILSVRC,
            for networks that were trained on them.
        wnids: the wnids of those 1,000 classes, one in each line, such as ``LOC_synset_mapping.txt``; needed with "imagenet".

    Raises:
        FileNotFoundError: where a table or an image is absent.
        ValueError: where a line is malformed, or a class is not in the list of classes.
    """
    require_folder(root)
    own_classes = read_wnids(root / _WNIDS)
    classes = _imagenet(wnids) if class_index == "imagenet" else own_classes
    if class_index == "own" and wnids is not None:
        raise ValueError(f"{wnids} is for the class index imagenet: choose that, or leave the file out.")
    positions = {wnid: index for index, wnid in enumerate(classes)}
    samples = []
    for image, wnid, box in _train_entries(root, own_classes) if split == "train" else _val_entries(root):
        for known, source in ((own_classes, root / _WNIDS), (classes, wnids)):
            if wnid not in known:
                raise ValueError(f"{image} is of the class {wnid}, which {source} does not list: correct one of them.")
        extra = {"source": image.relative_to(root).as_posix(), "wnid": wnid}
        samples.append(Sample(image.stem, image, positions[wnid], boxes=[box], extra=extra))
    return SampleSet("tiny-imagenet", split, name_classes(classes, _words(root, classes)), samples, ("boxes",))


_Entry = tuple[Path, str, tuple[float, ...]]


def _imagenet(path: Path | None) -> dict[str, str]:
    if path is None:
        raise ValueError(
            "The class index imagenet needs the wnids of ILSVRC: give a file such as LOC_synset_mapping.txt with --wnids."
        )
    classes = read_wnids(path)
    if len(classes) != _IMAGENET_COUNT:
        raise ValueError(f"{path} lists {len(classes)} wnids: give all {_IMAGENET_COUNT} of ILSVRC.")
    return dict(sorted(classes.items()))


def _words(root: Path, classes: Mapping[str, str]) -> dict[str, str]:
    """Words of the wnids, from their list or else from the set's own file, which has all of WordNet."""
    words = read_wnids(root / _WORDS) if (root / _WORDS).is_file() else {}
    return words | {wnid: text for wnid, text in classes.items() if text}


def _train_entries(root: Path, wnids: Collection[str]) -> Iterator[_Entry]:
    folder = require_folder(root / "train")
    if unknown := next((path for path in sorted(folder.iterdir()) if path.is_dir() and path.name not in wnids), None):
        raise ValueError(f"{unknown} is the folder of a class that {root / _WNIDS} does not list: correct one of them.")
    for wnid in wnids:
        table = folder / wnid / f"{wnid}_boxes.txt"
        for (name, *box), line in _read_table(table, 5):
            yield _image(folder / wnid / "images" / name, line), wnid, _half_open(box, line)


def _val_entries(root: Path) -> Iterator[_Entry]:
    table = root / "val" / "val_annotations.txt"
    for (name, wnid, *box), line in _read_table(table, 6):
        yield _image(root / "val" / "images" / name, line), wnid, _half_open(box, line)


def _image(path: Path, line: Line) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist though {line.place} lists it: {_AGAIN}.")
    return path


def _read_table(path: Path, entries: int) -> Iterator[tuple[list[str], Line]]:
    seen: set[str] = set()
    for line in read_lines(path, _AGAIN):
        fields = line.text.split()
        if len(fields) != entries:
            raise ValueError(f"{line.place} has {len(fields)} entries in place of {entries}: {line.text!r}.")
        if fields[0] in seen:
            raise ValueError(f"{line.place} repeats {fields[0]}: remove one of the lines.")
        seen.add(fields[0])
        yield [relative_name(fields[0], line), *fields[1:]], line


def _half_open(fields: Sequence[str], line: Line) -> tuple[float, ...]:
    x0, y0, x1, y1 = read_numbers(fields, line, f"the box {' '.join(fields)!r} for {line.text.split()[0]}")
    return x0, y0, x1 + 1, y1 + 1


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, help="folder tiny-imagenet-200 of the official archive")
    parser.add_argument("--split", choices=SPLITS, required=True, help="which of the official splits with labels")
    parser.add_argument(
        "--class-index", choices=CLASS_INDICES, default="own", help="own 200 labels, or those of ImageNet-1k (own)"
    )
    parser.add_argument(
        "--wnids",
        type=Path,
        metavar="FILE",
        help="the 1,000 wnids of ImageNet-1k, one in each line, for --class-index imagenet",
    )


CONVERTER = Converter(
    "tiny-imagenet",
    "Tiny ImageNet: class and box",
    _add_arguments,
    lambda args: list_tiny_imagenet(args.root, args.split, args.class_index, args.wnids),
)
