"""Split folders: which folders of a data set are its splits, under whatever name, and which are its classes."""

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from vitrine.data.shards.picture_folders import holds_pictures, printable, sub_folders

SPLITS = ("train", "val", "test")
_NAMES = {
    "train": ("train", "training", "trainset", "train_set"),
    "val": ("val", "valid", "validation", "dev", "valset", "val_set"),
    "test": ("test", "testing", "testset", "test_set", "eval"),
}
_SPLIT_OF = {name: split for split, names in _NAMES.items() for name in names}


def canonical_split(name: str) -> str:
    """``train``, ``val`` or ``test`` for the usual names of these; else the name itself.

    Example:
        >>> canonical_split("Training"), canonical_split("valid"), canonical_split("fold1")
        ('train', 'val', 'fold1')
    """
    return _SPLIT_OF.get(name.lower(), name)


def split_folders(root: Path) -> dict[str, Path]:
    """The split folders of a root, by the split's name; none where its folders are classes.

    A folder with the name of a split is one where it holds folders and no pictures.

    Raises:
        ValueError: where two folders are the same split.
    """
    named = [folder for folder in sub_folders(root) if folder.name.lower() in _SPLIT_OF]
    found: dict[str, Path] = {}
    for folder in filter(_is_of_folders, named):
        split = canonical_split(folder.name)
        if split in found:
            raise ValueError(f"{found[split]} and {folder} are two names of the split {split}: rename one of them.")
        found[split] = folder
    return found


def find_splits(root: Path, split: str | None) -> dict[str, Path]:
    """The split folders among which ``split`` is one; empty where the folders of ``root`` are classes.

    Raises:
        FileNotFoundError: where there are split folders, and not this one.
        ValueError: where the folders may be either, or no split is given.
    """
    found = split_folders(root)
    if split is not None and canonical_split(split) in found:
        return found
    if found:
        _refuse(root, split, found)
    if split is not None and (root / split).is_dir():
        return _splits_of_own_names(root, split)
    return {}


def _refuse(root: Path, split: str | None, found: Mapping[str, Path]) -> None:
    names = ", ".join(folder.name for folder in found.values())
    if split is not None and (root / split).is_dir():
        raise FileNotFoundError(
            f"{root / split} holds no class folders, unlike {names}: put images into class folders."
        )
    if split is not None:
        raise FileNotFoundError(f"{root / split} is no folder, the split folders are {names}: give one of them.")
    beside = [folder.name for folder in sub_folders(root) if folder not in found.values()]
    if not beside:
        raise ValueError(f"{root} holds the split folders {names}: say with --split which one to convert.")
    raise ValueError(
        f"{root} holds {names}, which look like split folders, beside {', '.join(map(printable, beside[:3]))}: say with"
        " --split which of them to convert, or rename those that are classes."
    )


def _splits_of_own_names(root: Path, split: str) -> dict[str, Path]:
    """Splits of names such as fold1, where all folders look like splits and one is asked for."""
    folders = sub_folders(root)
    if split in {folder.name for folder in folders} and all(map(_is_of_folders, folders)):
        return {folder.name: folder for folder in folders}
    raise ValueError(
        f"{root / split} may be the folder of a split or of a class, as not all folders of {root} hold class folders: give"
        " the folder of the split itself as --root, or leave --split out or change it where it is a class."
    )


def _is_of_folders(folder: Path) -> bool:
    return not holds_pictures(folder) and bool(sub_folders(folder))


def union_of_classes(bases: Sequence[Path]) -> list[str]:
    """Names of the class folders of all splits, sorted.

    Raises:
        FileNotFoundError: where a split has none.
        ValueError: where a name is no text, or two names are one but for case or Unicode form.
    """
    of_base = {base: [folder.name for folder in sub_folders(base)] for base in bases}
    for base, names in of_base.items():
        if not names:
            raise FileNotFoundError(
                f"{base} holds no class folders: give a folder with a folder of images for each class."
            )
    classes = sorted({name for names in of_base.values() for name in names})
    _check_names(classes, bases[0])
    _check_spelling(classes, [set(names) for names in of_base.values()], bases[0])
    return classes


def _check_names(classes: Sequence[str], base: Path) -> None:
    wrong = next((name for name in classes if printable(name) != name), None)
    if wrong is not None:
        raise ValueError(
            f"{base} or a split beside it has the class folder {printable(wrong)!r}, whose name is no printable UTF-8:"
            " rename it."
        )


def _check_spelling(classes: Sequence[str], of_splits: Sequence[set[str]], base: Path) -> None:
    """Letters of both cases may be classes of one set; a class that another split spells otherwise is a mistake."""
    first: dict[str, str] = {}
    for name in classes:
        folded = unicodedata.normalize("NFC", name).casefold().strip()
        other = first.setdefault(folded, name)
        same_text = unicodedata.normalize("NFC", name).strip() == unicodedata.normalize("NFC", other).strip()
        if name != other and (same_text or not any({name, other} <= names for names in of_splits)):
            raise ValueError(
                f"The class folders {other!a} and {name!a} of {base} and the splits beside it differ in nothing but case,"
                " blanks or Unicode form: give a class one name."
            )
