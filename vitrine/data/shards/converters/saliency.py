"""Converter of salient object sets (MSRA-B, ECSSD, DUTS): pairs of an image and a mask, without classes."""

from argparse import ArgumentParser
from collections.abc import Iterable
from pathlib import Path

from vitrine.data.shards.converter import Converter, SampleSet, require_folder
from vitrine.data.shards.images import PICTURE_SUFFIXES, read_size
from vitrine.data.shards.picture_folders import LeftOut, PictureFolder
from vitrine.data.shards.sample import Sample, make_key

SPLITS = ("train", "val", "test")
_PAIRS = {
    "train": (("DUTS-TR-Image", "DUTS-TR-Mask"), ("DUTS-TR/DUTS-TR-Image", "DUTS-TR/DUTS-TR-Mask")),
    "val": (),
    "test": (
        ("DUTS-TE-Image", "DUTS-TE-Mask"),
        ("DUTS-TE/DUTS-TE-Image", "DUTS-TE/DUTS-TE-Mask"),
        ("images", "ground_truth_mask"),
    ),
}
_IMAGE_FORMATS, _MASK_FORMATS = frozenset({".jpg", ".jpeg", ".jfif"}), frozenset({".png", ".bmp"})


def list_saliency(root: Path, split: str = "test") -> SampleSet:
    """Lists images and masks in the layouts of MSRA-B, ECSSD and DUTS, which are recognised by their folders.

    MSRA-B has ``NAME.jpg`` and ``NAME.png`` in one folder, ECSSD ``images`` and ``ground_truth_mask``, DUTS
    ``DUTS-TE-Image`` and ``DUTS-TE-Mask``, with TR for training. Masks with soft edges are on from half of white, see
    `vitrine.data.shards.masks.on_pixels`.

    The split has no classes, and the list of labels of each image is empty.

    Args:
        root: the folder of the set.
        split: "train", "val" or "test". Only DUTS has training images; other layouts have one split of any name.

    Raises:
        FileNotFoundError: where no layout is recognised, an image has no mask, or a mask no image.
        ValueError: where a mask has another size than its image.
    """
    require_folder(root)
    left_out = LeftOut()
    images, masks, base = _find_pairs(root, split, left_out)
    for files, counterparts, what in ((images, masks, "mask"), (masks, images, "image")):
        unpaired = next((path for stem, path in sorted(files.items()) if stem not in counterparts), None)
        if unpaired is not None:
            raise FileNotFoundError(f"{unpaired} has no {what} of the same name: add that, or remove the file.")
    samples = [_make_sample(path, masks[stem], base) for stem, path in sorted(images.items())]
    return SampleSet("saliency", split, (), samples, ("mask",), multi_label=True, notes=left_out.notes())


def has_split(root: Path, split: str) -> bool:
    """Whether there are images of a split; a set without splits has ``test`` alone."""
    return _find_folders(root, split) is not None or (split == "test" and not _has_folders(root))


_Files = dict[str, Path]


def _find_pairs(root: Path, split: str, left_out: LeftOut) -> tuple[_Files, _Files, Path]:
    folders = _find_folders(root, split)
    if folders is not None:
        images, masks = folders
        return _by_stem(images, PICTURE_SUFFIXES, left_out), _by_stem(masks, PICTURE_SUFFIXES, left_out), root
    if _has_folders(root):
        raise FileNotFoundError(f"{root} has no images of the split {split}: unpack their archive there.")
    if images_beside := _by_stem(root, _IMAGE_FORMATS, left_out):
        return images_beside, _by_stem(root, _MASK_FORMATS, LeftOut()), root
    raise FileNotFoundError(
        f"{root} holds no pairs of NAME.jpg and NAME.png, nor images and ground_truth_mask, nor DUTS-TE-Image and"
        " DUTS-TE-Mask: give the folder that does."
    )


def _find_folders(root: Path, split: str) -> tuple[Path, Path] | None:
    pairs = ((root / images, root / masks) for images, masks in _PAIRS[split])
    return next(((images, masks) for images, masks in pairs if images.is_dir() and masks.is_dir()), None)


def _has_folders(root: Path) -> bool:
    return any(_find_folders(root, split) for split in SPLITS)


def _by_stem(folder: Path, kinds: Iterable[str], left_out: LeftOut) -> _Files:
    by_stem: _Files = {}
    for relative, _ in PictureFolder(folder, left_out).pictures(folder, deep=False):
        path = folder / relative
        if path.suffix.lower() not in kinds:
            continue
        if path.stem in by_stem:
            raise ValueError(f"{by_stem[path.stem]} and {path} have one name: rename or remove one of them.")
        by_stem[path.stem] = path
    return by_stem


def _make_sample(image: Path, mask: Path, base: Path) -> Sample:
    size, mask_size = read_size(image), read_size(mask).upright
    if mask_size not in {size.stored, size.upright}:
        raise ValueError(
            f"{mask} is {mask_size[0]} x {mask_size[1]}, its image {size.upright[0]} x {size.upright[1]}: give both in one"
            " size."
        )
    relative = image.relative_to(base)
    return Sample(make_key(relative.name), image, [], mask=mask, extra={"source": relative.as_posix()})


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, help="folder of MSRA-B, ECSSD or DUTS")
    parser.add_argument("--split", choices=SPLITS, default="test", help="which split (test); only DUTS has another")


CONVERTER = Converter(
    "saliency",
    "MSRA-B, ECSSD, DUTS and the like: masks of salient objects, no classes",
    _add_arguments,
    lambda args: list_saliency(args.root, args.split),
)
