"""Folder layouts of ILSVRC: where classes and boxes come from, and what is told of files that are absent or bad."""

import re
import shutil
from pathlib import Path

import pytest

from tests.helpers import image_sets as sets
from tests.helpers.imagenet_samples import VAL_LABELS, by_key, edit, labels
from vitrine.data.shards.cli import main
from vitrine.data.shards.converters.imagenet import ImageNetOptions, list_imagenet
from vitrine.data.shards.converters.imagenet_layout import read_ground_truth


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return Path(sets.write_imagenet(tmp_path / "imagenet"))


@pytest.fixture
def plain(root: Path, tmp_path: Path) -> Path:
    """The folders train and val, both with class folders, and no boxes."""
    shutil.copytree(root / "ILSVRC" / "Data" / "CLS-LOC", tmp_path / "plain")
    for number, ((wnid, _), *_) in sets.VAL_OBJECTS.items():
        image = tmp_path / "plain" / "val" / f"{sets.val_name(number)}.JPEG"
        image.parent.joinpath(wnid).mkdir(exist_ok=True)
        image.rename(image.parent / wnid / image.name)
    return tmp_path / "plain"


def test_classes_of_flat_images_come_from_the_xml_files_too(root: Path) -> None:
    (root / "LOC_val_solution.csv").unlink()
    assert labels(root, "val") == VAL_LABELS


@pytest.mark.parametrize("row", ["{name}.JPEG {label}", "val/{name}.JPEG,{wnid}"])
def test_classes_of_flat_images_come_from_a_given_file(root: Path, row: str) -> None:
    wnids = sorted(sets.WNIDS)
    rows = [row.format(name=name, label=label, wnid=wnids[label]) for name, label in VAL_LABELS]
    truth = sets.write_text(root / "val_map.txt", "\n".join(rows))
    shutil.rmtree(root / "ILSVRC" / "Annotations")
    (root / "LOC_val_solution.csv").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"no class folders, and there is no LOC_val_solution\.csv .*: give it wi"
    ):
        list_imagenet(root, "val")
    assert labels(root, "val", ground_truth=truth) == VAL_LABELS
    assert list_imagenet(root, "val", ImageNetOptions(ground_truth=truth)).annotations == ()


def test_class_folders_without_boxes(plain: Path) -> None:
    assert labels(plain, "val") == VAL_LABELS
    listed = list_imagenet(plain, "train")
    assert listed.annotations == ()
    assert listed.classes == sorted(sets.WNIDS)
    assert [sample.label for sample in listed.samples] == [0, 0, 1, 1, 2, 2]


def test_a_class_without_training_images_keeps_its_place(plain: Path) -> None:
    shutil.rmtree(plain / "train" / "n02012849")
    assert [sample.label for sample in list_imagenet(plain, "train").samples] == [0, 0, 2, 2]


@pytest.mark.parametrize("at", ["", "val"])
def test_boxes_from_a_folder_beside_class_folders(root: Path, plain: Path, at: str) -> None:
    folder = root / "ILSVRC" / "Annotations" / "CLS-LOC" / at
    boxes = {key: sample.boxes for key, sample in by_key(plain, "val", annotations=folder).items()}
    assert boxes == {key: sample.boxes for key, sample in by_key(root, "val").items()}


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("Annotations/CLS-LOC/val/{2}.xml", "</annotation>", "", "{2}.xml is broken XML (no element found"),
        ("Annotations/CLS-LOC/val/{2}.xml", "<xmin>2<", "<xmin>left<", "{2}.xml: the box of n01440764 cannot be read"),
        ("Annotations/CLS-LOC/val/{2}.xml", "<width>12<", "<width>x<", "{2}.xml: the size cannot be read"),
        ("../LOC_synset_mapping.txt", "n02012849", "n99999999", "{3}.JPEG is of the class n02012849, which LOC_synset_ma"),
        ("../LOC_synset_mapping.txt", "n02012849", "crane", "line 2, starts with 'crane', which is no wnid such as"),
        ("../LOC_synset_mapping.txt", "n02012849", "n01440764", "line 2, repeats n01440764: remove one of the lines"),
        ("../LOC_val_solution.csv", "{3},", "x{3},", "LOC_val_solution.csv has no line for {3}: give the ground truth"),
        ("../LOC_val_solution.csv", "{3},n02012849 5 5 5 8", "490", "line 4, is '490' and no image's name with its wnid"),
        ("../LOC_val_solution.csv", "{3},n02012849", "{3},3", "gives {3} the label 3, but 3 classes are known"),
        ("Annotations/CLS-LOC/val/{4}.xml", "<xmin>1<", "<xmin>12<", "{4}.JPEG: box 0 [12.0, 2.0, 9.0, 10.0] is no x0"),
    ],
)  # fmt: skip
def test_a_bad_file_is_one_sentence(
    root: Path, name: str, old: str, new: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stems = ["", *(sets.val_name(number) for number in sets.VAL_OBJECTS)]
    name, old, new, message = (
        re.sub(r"\{(\d)\}", lambda m: stems[int(m[1])], text) for text in (name, old, new, message)
    )
    edit(root / "ILSVRC" / name, old, new)
    out = root / "out"
    assert main(["imagenet", "--root", str(root), "--split", "val", "--out", str(out), "--workers", "1"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("ILSVRC/Annotations/CLS-LOC/val/{3}.xml", "CLS-LOC/val/{3}.xml does not exist, but its image"),
        ("ILSVRC/Data/CLS-LOC/val/{3}.JPEG", "CLS-LOC/val/{3}.JPEG does not exist: restore the file"),
        ("ILSVRC/Data/CLS-LOC/val", "imagenet has neither ILSVRC/Data/CLS-LOC/val nor val: unpack"),
    ],
)
def test_an_absent_file_is_named(root: Path, gone: str, message: str) -> None:
    path = root / gone.format("", "", "", sets.val_name(3))
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(message.format("", "", "", sets.val_name(3)))):
        list_imagenet(root, "val")


def test_folders_that_are_no_wnids_are_refused(plain: Path) -> None:
    (plain / "train" / "n02012849").rename(plain / "train" / "crane")
    with pytest.raises(ValueError, match=r"train/crane is named by no wnid such as n01440764: convert the set with"):
        list_imagenet(plain, "train")


def test_an_absent_file_of_ground_truth_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.txt does not exist: give LOC_val_solution\.csv"):
        read_ground_truth(Path("nowhere.txt"))
