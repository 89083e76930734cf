import re
import shutil
from pathlib import Path

import pytest

from tests.helpers import image_sets as sets
from vitrine.data.shards.cli import main
from vitrine.data.shards.converter import write_set
from vitrine.data.shards.converters.imagenet import ImageNetOptions, list_imagenet
from vitrine.data.shards.converters.imagenet_annotation import scaled
from vitrine.data.shards.converters.imagenet_layout import read_ground_truth
from vitrine.data.shards.sample import Sample
from vitrine.data.shards.verifier import verify


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


def by_key(root: Path, split: str, **extras: object) -> dict[str, Sample]:
    return {sample.key: sample for sample in list_imagenet(root, split, ImageNetOptions(**extras)).samples}  # type: ignore[arg-type]


def labels(root: Path, split: str, **extras: object) -> list[tuple[str, object]]:
    return sorted((key, sample.label) for key, sample in by_key(root, split, **extras).items())


VAL_LABELS = [(sets.val_name(1), 2), (sets.val_name(2), 0), (sets.val_name(3), 1), (sets.val_name(4), 0)]


def test_boxes_of_validation_images_become_half_open(root: Path, tmp_path: Path) -> None:
    listed = list_imagenet(root, "val")
    assert (listed.dataset, listed.split, listed.annotations, listed.notes) == ("imagenet", "val", ("boxes",), [])
    assert listed.classes == ["tench", "crane (n02012849)", "crane (n03126707)"]
    found = by_key(root, "val")
    assert found[sets.val_name(1)].boxes == [(0, 0, 12, 10)]
    assert found[sets.val_name(2)].boxes == [(2, 3, 5, 6), (7, 1, 12, 7)]
    assert found[sets.val_name(3)].boxes == [(5, 5, 6, 9)]
    assert found[sets.val_name(3)].extra == {"source": f"val/{sets.val_name(3)}.JPEG", "wnid": "n02012849"}
    index = write_set(listed, tmp_path / "out", shard_size=3, workers=1, seed=0)
    assert (index.count, index.class_counts) == (4, [2, 1, 1])
    assert verify(tmp_path / "out", workers=1).problems == []


@pytest.mark.parametrize("at", ["", "ILSVRC"])
def test_labels_are_places_among_the_sorted_wnids(root: Path, at: str) -> None:
    rows = (root / "LOC_synset_mapping.txt").read_text().splitlines(keepends=True)
    (root / "LOC_synset_mapping.txt").write_text("".join(reversed(rows)))
    assert labels(root / at, "val") == VAL_LABELS


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


def test_training_images_need_no_boxes_and_keep_those_of_their_own_class(root: Path, tmp_path: Path) -> None:
    edit(xml(root, "train/n02012849/n02012849_0"), "<xmax>6</xmax>", "<xmax>-1</xmax>")
    listed = list_imagenet(root, "train")
    boxes = {sample.key: sample.boxes for sample in listed.samples if sample.boxes}
    assert boxes == {"n01440764_0": [(1, 1, 7, 7), (2, 0, 12, 5)], "n02012849_0": [(2, 0, 12, 5)]}
    assert listed.notes == [
        "4 images have no XML file, so they have no boxes.",
        "3 boxes were left out: of another class, or empty.",
    ]
    write_set(listed, tmp_path / "out", shard_size=3, workers=1, seed=0)
    assert verify(tmp_path / "out", workers=1).problems == []


def test_boxes_of_an_image_that_was_annotated_at_another_size_are_scaled(root: Path) -> None:
    edit(xml(root, f"val/{sets.val_name(2)}"), "<width>12</width>", "<width>6</width>")
    assert by_key(root, "val")[sets.val_name(2)].boxes == [(4, 3, 10, 6), (14, 1, 24, 7)]
    assert scaled((1, 2, 3, 4), (0, 0), (9, 9)) == (1, 2, 3, 4)


def test_the_blacklist_leaves_images_out(root: Path, plain: Path) -> None:
    for folder in (root, plain):
        blacklist = sets.write_text(folder / "ILSVRC2014_clsloc_validation_blacklist.txt", "2\n4\n50000\n")
        assert labels(folder, "val", blacklist=blacklist) == [VAL_LABELS[0], VAL_LABELS[2]]


@pytest.mark.parametrize("number", ["50001", "0", "-3", "cat"])
def test_a_number_beyond_the_validation_images_is_refused(root: Path, number: str) -> None:
    blacklist = sets.write_text(root / "blacklist.txt", f"7\n{number}\n")
    message = rf"blacklist\.txt, entry 2, is '{number}' and no number from 1 to 50000"
    with pytest.raises(ValueError, match=message):
        list_imagenet(root, "val", ImageNetOptions(blacklist=blacklist))
    with pytest.raises(ValueError, match="about validation images: leave it out with the split train"):
        list_imagenet(root, "train", ImageNetOptions(blacklist=blacklist))
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        list_imagenet(root, "val", ImageNetOptions(blacklist=Path("nowhere")))


def test_a_draw_of_each_class_is_part_of_a_larger_one(root: Path) -> None:
    one, two = (set(by_key(root, "train", per_class=count)) for count in (1, 2))
    assert len(one) == 3
    assert one < two
    draws = {frozenset(by_key(root, "train", per_class=1, seed=seed)) for seed in range(8)}
    assert len(draws) > 1


def xml(root: Path, name: str) -> Path:
    return root / "ILSVRC" / "Annotations" / "CLS-LOC" / f"{name}.xml"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("Annotations/CLS-LOC/val/{2}.xml", "</annotation>", "", "{2}.xml is broken XML (no element found"),
        ("Annotations/CLS-LOC/val/{2}.xml", "<xmin>2<", "<xmin>left<", "{2}.xml: the box of n01440764 cannot be read"),
        ("Annotations/CLS-LOC/val/{2}.xml", "<width>12<", "<width>x<", "{2}.xml: the size cannot be read"),
        ("../LOC_synset_mapping.txt", "n02012849", "n99999999", "{3}.JPEG is of the class n02012849, which LOC_synset_ma"),
        ("../LOC_synset_mapping.txt", "n02012849", "crane", "line 2, starts with 'crane', which is no wnid such as"),
        ("../LOC_synset_mapping.txt", "n02012849", "n01440764", "line 2, repeats n01440764: remove one of the lines"),
        ("../LOC_val_solution.csv", "{3},", "{4},", "LOC_val_solution.csv has no line for {3}: give the ground truth"),
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


def test_the_command_tells_of_what_it_left_out(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        "--root",
        str(root),
        "--split",
        "train",
        "--per-class",
        "1",
        "--workers",
        "1",
        "--out",
        str(tmp_path / "o"),
    ]
    assert main(["imagenet", *options]) == 0
    assert main(["verify", str(tmp_path / "o")]) == 0
    assert "images have no XML file" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["imagenet", "wsol", "tiny-imagenet", "saliency"])
def test_the_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert all(option in capsys.readouterr().out for option in ("--root",))
