"""ImageNet's converter: boxes, labels, draws of each class, and its command."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import image_sets as sets
from tests.helpers import oriented_pictures as pictures
from tests.helpers.imagenet_samples import VAL_LABELS, by_key, edit, labels
from vitrine.data.shards.cli import main
from vitrine.data.shards.converter import write_set
from vitrine.data.shards.converters.imagenet import ImageNetOptions, list_imagenet
from vitrine.data.shards.converters.imagenet_annotation import scaled
from vitrine.data.shards.rules import RecordRules
from vitrine.data.shards.sample import encode_sample
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


@pytest.mark.parametrize(("size", "box"), [((12, 10), [1, 2, 6, 4]), ((6, 5), [2, 4, 12, 8]), ((10, 12), [1, 2, 6, 4])])
def test_boxes_are_turned_with_their_image(root: Path, size: tuple[int, int], box: list[float]) -> None:
    """An image of 12 x 10 that stands upright at 10 x 12: (x, y) becomes (9 - y, x), but not for boxes of that size."""
    name = sets.val_name(1)
    image = root / f"ILSVRC/Data/CLS-LOC/val/{name}.JPEG"
    image.write_bytes(pictures.encoded(np.zeros((10, 12), np.uint8), "JPEG", 6))
    sets.write_text(xml(root, f"val/{name}"), sets.annotation(name, [("n03126707", (1, 2, 5, 3))], size))
    sample = by_key(root, "val")[name]
    rules = RecordRules(3, multi_label=False, annotations=frozenset({"boxes"}))
    x0, y0, x1, y1 = box
    turned = [x0, y0, x1, y1] if size == (10, 12) else [10 - y1, x0, 10 - y0, x1]
    assert sample.boxes == [tuple(box)]
    assert json.loads(encode_sample(sample, rules)[f"{name}.json"])["boxes"] == [turned]


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


def test_some_classes_are_a_set_of_their_own(root: Path, plain: Path, tmp_path: Path) -> None:
    chosen = ["n03126707", "n01440764"]
    for folder in (root, plain):
        for split in ("train", "val"):
            whole = list_imagenet(folder, split)
            listed = list_imagenet(folder, split, ImageNetOptions(classes=chosen))
            assert list(listed.classes) == (["tench", "crane"] if folder is root else sorted(chosen))
            kept = {sample.key: sample.labels[0] // 2 for sample in whole.samples if sample.labels != [1]}
            assert {sample.key: sample.labels[0] for sample in listed.samples} == kept
    out = tmp_path / "out"
    assert main(["imagenet", "--root", str(root), "--split", "val", "--out", str(out), "--classes", *chosen]) == 0
    assert json.loads((out / "index.json").read_text())["class_counts"] == [2, 1]


@pytest.mark.parametrize(("classes", "value"), [(["n01440764", "n00000001"], "n00000001"), ([], r"\[\]")])
def test_classes_that_are_not_there(classes: list[str], value: str, root: Path) -> None:
    with pytest.raises(ValueError, match=rf"classes is '?{value}'?; give wnids of the set's 3 classes"):
        list_imagenet(root, "train", ImageNetOptions(classes=classes))
