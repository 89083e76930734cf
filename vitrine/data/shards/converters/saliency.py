"""Sets of salient objects: pairs of an image and a mask, without classes."""

import io
from argparse import ArgumentParser
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from vitrine.data.shards.converter import Converter, SampleSet, require_folder
from vitrine.data.shards.converters.folder import EXTENSIONS
from vitrine.data.shards.images import decode, read_size
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
_IMAGE_FORMATS, _MASK_FORMATS = frozenset({".jpg", ".jpeg"}), frozenset({".png", ".bmp"})


def list_saliency(root: Path, split: str = "test") -> SampleSet:
    """Lists images and masks in the layouts of MSRA-B, ECSSD and DUTS; which of them it is, the folders tell.

    MSRA-B has ``NAME.jpg`` and ``NAME.png`` in one folder, ECSSD ``images`` and ``ground_truth_mask``, DUTS
    ``DUTS-TE-Image`` and ``DUTS-TE-Mask``, with TR for training. Masks are on where they are half of white or more.

    There are no classes: the split lists none, and each image's list of labels is empty.

    Args:
        root: The folder with all of this.
        split: "train", "val" or "test". Only DUTS has training images; another layout takes the name that it is given.

    Raises:
        FileNotFoundError: No layout is found, or an image has no mask, or a mask no image.
        ValueError: A mask is of another size than its image.
    """
    require_folder(root)
    images, masks, base = _find_pairs(root, split)
    for one, other, what in ((images, masks, "mask"), (masks, images, "image")):
        if lone := next((path for stem, path in sorted(one.items()) if stem not in other), None):
            raise FileNotFoundError(f"{lone} has no {what} of the same name: add that, or remove the file.")
    samples = [_make_sample(path, masks[stem], base) for stem, path in sorted(images.items())]
    return SampleSet("saliency", split, (), samples, ("mask",), multi_label=True)


def has_split(root: Path, split: str) -> bool:
    """Whether there are images of a split; a set without splits is for tests."""
    return _find_folders(root, split) is not None or (split == "test" and not _has_folders(root))


def half_on(path: Path) -> bytes:
    """A mask as a PNG of 0 and 255, on where its grey value is 128 or more; a set of 0 and 1 alone is on at 1."""
    grey = decode(path.read_bytes(), str(path)).convert("L")
    least = 1 if grey.getextrema()[1] == 1 else 128
    buffer = io.BytesIO()
    grey.point([255 * (value >= least) for value in range(256)]).save(buffer, format="PNG")
    return buffer.getvalue()


_Files = dict[str, Path]


def _find_pairs(root: Path, split: str) -> tuple[_Files, _Files, Path]:
    folders = _find_folders(root, split)
    if folders is not None:
        images, masks = folders
        return _by_stem(images, EXTENSIONS), _by_stem(masks, EXTENSIONS), root
    if _has_folders(root):
        raise FileNotFoundError(f"{root} has no images of the split {split}: unpack their archive there.")
    if found := _by_stem(root, _IMAGE_FORMATS):
        return found, _by_stem(root, _MASK_FORMATS), root
    raise FileNotFoundError(
        f"{root} holds no pairs of NAME.jpg and NAME.png, nor images and ground_truth_mask, nor DUTS-TE-Image and"
        " DUTS-TE-Mask: give the folder that does."
    )


def _find_folders(root: Path, split: str) -> tuple[Path, Path] | None:
    pairs = ((root / images, root / masks) for images, masks in _PAIRS[split])
    return next(((images, masks) for images, masks in pairs if images.is_dir() and masks.is_dir()), None)


def _has_folders(root: Path) -> bool:
    return any(_find_folders(root, split) for split in SPLITS)


def _by_stem(folder: Path, kinds: Iterable[str]) -> _Files:
    found: _Files = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in kinds:
            continue
        if path.stem in found:
            raise ValueError(f"{found[path.stem]} and {path} have one name: rename or remove one of them.")
        found[path.stem] = path
    return found


def _make_sample(image: Path, mask: Path, base: Path) -> Sample:
    size, of_mask = read_size(image), read_size(mask)
    if size != of_mask:
        raise ValueError(f"{mask} is {of_mask[0]} x {of_mask[1]}, its image {size[0]} x {size[1]}.")
    relative = image.relative_to(base)
    return Sample(
        make_key(relative.name), image, [], mask=partial(half_on, mask), extra={"source": relative.as_posix()}
    )


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, help="folder of MSRA-B, ECSSD or DUTS")
    parser.add_argument("--split", choices=SPLITS, default="test", help="which split (test); only DUTS has another")


CONVERTER = Converter(
    "saliency",
    "MSRA-B, ECSSD, DUTS and the like: masks of salient objects, no classes",
    _add_arguments,
    lambda args: list_saliency(args.root, args.split),
)
