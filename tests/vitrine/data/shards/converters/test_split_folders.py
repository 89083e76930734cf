"""Splits or classes: what the folders of a set are, under every usual name."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.time_limits import time_limit
from tests.vitrine.data.shards.conftest import PixelBytes
from vitrine.data.shards.converter import write_set
from vitrine.data.shards.converters.folder import has_split, list_folder
from vitrine.data.shards.converters.split_folders import canonical_split
from vitrine.data.shards.schema import read_index
from vitrine.data.shards.verifier import verify


@pytest.fixture(autouse=True)
def limited() -> Iterator[None]:
    with time_limit():
        yield


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode("utf-8", "surrogateescape"))
    return root


PETS = ("cat/a.png", "dog/b.png")
PAIR, DOG, CAT = ["cat", "dog"], {"dog/b.png": 1}, {"cat/a.png": 1}


def splits_of(*names: str) -> list[str]:
    return [f"{name}/{image}" for name in names for image in PETS]


# The files, the split that is asked for, the split and classes that are found, and the source of each sample with its label.
READ: dict[str, tuple[list[str], str | None, str, list[str], dict[str, int]]] = {
    "classes": ([*PETS], None, "all", ["cat", "dog"], {"cat/a.png": 0, "dog/b.png": 1}),
    "classes with a split's name": ([*PETS], "train", "train", ["cat", "dog"], {"cat/a.png": 0, "dog/b.png": 1}),
    "a class test": ([*PETS, "test/c.png"], None, "all", ["cat", "dog", "test"], {"test/c.png": 2}),
    "classes train and test": (["train/a.png", "test/b.png"], None, "all", ["test", "train"], {"test/b.png": 0}),
    "training": (splits_of("training", "validation"), "training", "train", PAIR, DOG),
    "validation": (splits_of("training", "validation"), "validation", "val", PAIR, DOG),
    "val of validation": (splits_of("training", "validation"), "val", "val", PAIR, DOG),
    "train of training": (splits_of("training", "validation"), "train", "train", PAIR, DOG),
    "valid": (splits_of("train", "valid"), "val", "val", PAIR, DOG),
    "dev": (splits_of("train", "dev"), "val", "val", PAIR, DOG),
    "testing": (splits_of("train", "testing"), "test", "test", PAIR, DOG),
    "upper case": (splits_of("TRAIN", "Val"), "train", "train", PAIR, DOG),
    "one split alone": (splits_of("training"), "train", "train", PAIR, DOG),
    "folds": (splits_of("fold1", "fold2"), "fold2", "fold2", PAIR, DOG),
    "a class of train alone": ([*splits_of("train", "val"), "train/ant/c.png"], "val", "val", ["ant", *PAIR], CAT),
    "a class of val alone": ([*splits_of("train", "val"), "val/ant/c.png"], "train", "train", ["ant", *PAIR], CAT),
    "test without classes": ([*splits_of("train"), "test/1.png"], "train", "train", PAIR, DOG),
    "folders beside splits": ([*splits_of("train", "val"), "labels/a.txt", "docs/b.png"], "train", "train", PAIR, DOG),
    "files beside splits": ([*splits_of("train", "val"), "labels.csv"], "train", "train", PAIR, DOG),
    "letters of both cases": (["A/a.png", "a/b.png"], None, "all", ["A", "a"], {"A/a.png": 0, "a/b.png": 1}),
    "nested": (["cat/2020/a.png", "cat/b.png", "dog/x/y/c.png"], None, "all", PAIR, {"dog/x/y/c.png": 1}),
    "a nested split's name": (["cat/train/a.png", "dog/b.png"], None, "all", ["cat", "dog"], {"cat/train/a.png": 0}),
    "system folders": ([*PETS, "__MACOSX/cat/._a.png", "@eaDir/a.png"], None, "all", PAIR, DOG),
    "unprintable names": (["cat/line\n.png", "dog/\udcff.png"], None, "all", PAIR, {"cat/line%0A.png": 0, "dog/%FF.png": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_splits_and_classes_are_told_apart(tmp_path: Path, name: str) -> None:
    files, asked, split, classes, labels = READ[name]
    listed = list_folder(make(tmp_path, *files), asked)
    assert (listed.split, list(listed.classes)) == (split, classes)
    found = {sample.extra["source"]: sample.label for sample in listed.samples}
    assert found.items() >= labels.items()


REFUSED: dict[str, tuple[list[str], str | None, str]] = {
    "no split asked for": (
        splits_of("training", "validation"),
        None,
        "holds the split folders training, validation: say",
    ),
    "an absent split": (
        splits_of("training", "validation"),
        "test",
        "test is no folder, the split folders are training",
    ),
    "an unknown split": (splits_of("train", "val"), "fold1", "fold1 is no folder, the split folders are train, val"),
    "two names of one split": (splits_of("val", "validation"), "val", "are two names of the split val: rename"),
    "two cases of one split": (splits_of("train", "Train"), "train", "are two names of the split train: rename"),
    "splits among classes": (
        ["train/x/a.png", *PETS],
        None,
        "holds train, which look like split folders, beside cat, dog",
    ),
    "a split that is a class": ([*PETS, "train/a.png"], "train", "train may be the folder of a split or of a class"),
    "a fold that is a class": ([*PETS, "fold1/a.png"], "fold1", "fold1 may be the folder of a split or of a class"),
    "a split without classes": (
        [*splits_of("train"), "test/1.png"],
        "test",
        "test holds no class folders, unlike train",
    ),
    "an empty split": ([*splits_of("train"), "val/cat/notes.txt"], "val", "val/cat holds no images"),
    "an empty class": ([*PETS, "emu/notes.txt"], None, "emu holds no images"),
    "pictures alone": (["a.png", "b.png"], None, "holds no class folders"),
    "case between splits": (
        ["train/Cat/a.png", "val/cat/a.png"],
        "train",
        "'Cat' and 'cat' .* differ in nothing but case",
    ),
    "blanks between splits": (["train/cat/a.png", "val/cat /a.png"], "val", "differ in nothing but case"),
    "forms between splits": (["train/caf\u00e9/a.png", "val/cafe\u0301/a.png"], "train", "differ in nothing but case"),
    "forms in a split": (["caf\u00e9/a.png", "cafe\u0301/a.png"], None, "differ in nothing but case"),
    "a class of bytes": (["cat/a.png", "\udcff/a.png"], None, "class folder '%FF', whose name is no printable UTF-8"),
    "a class of two lines": (["cat/a.png", "a\nb/a.png"], None, "class folder 'a%0Ab', whose name is no printable"),
    "out of the folder": ([*splits_of("fold1", "fold2")], "../x", r"x is no folder|holds no|may be|fold1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_may_be_either_is_a_sentence(tmp_path: Path, name: str) -> None:
    files, asked, message = REFUSED[name]
    make(tmp_path / "x", "cat/a.png")
    root = make(tmp_path / "set", *files)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as told:
        list_folder(root, asked)
    assert "\n" not in str(told.value)


def test_names_of_splits() -> None:
    names = ["train", "Training", "val", "VALID", "validation", "test", "testing", "fold1"]
    assert [canonical_split(name) for name in names] == ["train"] * 2 + ["val"] * 3 + ["test"] * 2 + ["fold1"]


def test_a_module_asks_for_splits_by_any_name(tmp_path: Path) -> None:
    root = make(tmp_path, *splits_of("training", "testing"))
    assert [has_split(root, name) for name in ("train", "val", "test")] == [True, False, True]
    assert not has_split(make(tmp_path / "x", *PETS), "train")


@pytest.mark.parametrize("link", ["folder", "file", "hard link", "class"])
def test_one_file_under_two_classes_is_told(tmp_path: Path, link: str) -> None:
    root = make(tmp_path, "cat/a.png", "dog/b.png")
    if link == "folder":
        (root / "cat" / "more").symlink_to("../dog")
    elif link == "file":
        (root / "cat" / "c.png").symlink_to("../dog/b.png")
    elif link == "class":
        (root / "wolf").symlink_to("dog")
    else:
        os.link(root / "dog/b.png", root / "cat/c.png")
    with pytest.raises(ValueError, match="are one file under two classes, by a link: remove one"):
        list_folder(root)


def test_a_link_loop_labels_nothing_wrong_and_what_is_left_out_is_in_the_index(
    tmp_path: Path, picture: PixelBytes
) -> None:
    root = tmp_path / "set"
    for number, name in enumerate(["cat/a.png", "cat/b.gif", "cat/c.JPEG", "dog/d.jpg"]):
        kind = {".gif": "GIF", ".png": "PNG"}.get(Path(name).suffix, "JPEG")
        make(root, name)
        (root / name).write_bytes(picture(number, kind=kind))
    make(root, "cat/.DS_Store", "cat/x.txt", "stray.png")
    (root / "cat" / "loop").symlink_to("..")
    os.mkfifo(root / "cat" / "pipe.png")
    listed = list_folder(root)
    assert [(sample.key, sample.label) for sample in listed.samples] == [
        ("cat__a", 0), ("cat__b", 0), ("cat__c", 0), ("dog__d", 1),
    ]  # fmt: skip
    write_set(listed, tmp_path / "out", shard_size=9, workers=1, seed=0)
    (note,) = read_index(tmp_path / "out").notes or []
    for part in ("1 hidden", "1 .txt files", "1 pictures beside", "1 links back", "1 pipes"):
        assert part in note
    assert json.loads((tmp_path / "out" / "index.json").read_text())["notes"] == [note]
    assert verify(tmp_path / "out", workers=1).problems == []
