"""What the converter of ImageNet lists of the small set, and edits of its files."""

from pathlib import Path

from tests.helpers import image_sets as sets
from vitrine.data.shards.converters.imagenet import ImageNetOptions, list_imagenet
from vitrine.data.shards.sample import Sample


def by_key(root: Path, split: str, **extras: object) -> dict[str, Sample]:
    return {sample.key: sample for sample in list_imagenet(root, split, ImageNetOptions(**extras)).samples}  # type: ignore[arg-type]


def labels(root: Path, split: str, **extras: object) -> list[tuple[str, object]]:
    return sorted((key, sample.label) for key, sample in by_key(root, split, **extras).items())


VAL_LABELS = [(sets.val_name(1), 2), (sets.val_name(2), 0), (sets.val_name(3), 1), (sets.val_name(4), 0)]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
