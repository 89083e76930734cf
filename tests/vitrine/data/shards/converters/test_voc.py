import json
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import oriented_pictures as pictures
from vitrine.data.shards.cli import main
from vitrine.data.shards.converter import write_set
from vitrine.data.shards.converters.voc import CLASSES, list_voc
from vitrine.data.shards.schema import read_index
from vitrine.data.shards.verifier import verify


@pytest.fixture
def devkit(voc_root: Path, tmp_path: Path) -> Path:
    """A copy of VOCdevkit that a test may change."""
    return Path(shutil.copytree(voc_root, tmp_path / "VOCdevkit"))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def records(split: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for shard in sorted(split.glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    found[member.name.removesuffix(".json")] = json.loads(tar.extractfile(member).read())  # type: ignore[union-attr]
    return found


def test_classes_are_the_20_in_alphabetical_order() -> None:
    assert len(CLASSES) == 20
    assert list(CLASSES) == sorted(CLASSES)


def test_boxes_labels_and_flags_are_converted(devkit: Path, tmp_path: Path) -> None:
    index = write_set(list_voc(devkit, "test"), tmp_path / "out", shard_size=2, workers=1, seed=0)
    assert (index.dataset, index.split, index.annotations) == ("voc2007", "test", ["boxes"])
    assert (index.multi_label, index.count, index.classes) == (True, 5, list(CLASSES))
    cat, dog, person, sofa = (CLASSES.index(name) for name in ("cat", "dog", "person", "sofa"))
    counts = {label: count for label, count in enumerate(index.class_counts) if count}
    assert counts == {cat: 2, dog: 2, person: 2, sofa: 1}
    found = records(tmp_path / "out")
    assert found["000006"] == {
        "label": [cat, dog],
        "width": 48,
        "height": 36,
        "boxes": [[2.0, 1.0, 30.0, 20.0], [19.0, 17.0, 46.0, 34.0], [0.0, 23.0, 9.0, 35.0]],
        "box_labels": [dog, cat, dog],
        "box_difficult": [0, 0, 1],
        "source": "JPEGImages/000006.jpg",
    }
    assert found["000007"]["label"] == found["000007"]["boxes"] == found["000007"]["box_labels"] == []
    assert verify(tmp_path / "out", workers=1).problems == []


def test_a_class_whose_objects_are_all_difficult_is_a_label(devkit: Path) -> None:
    samples = {sample.key: sample for sample in list_voc(devkit, "test").samples}
    assert samples["000008"].labels == [CLASSES.index("person")]
    assert samples["000008"].box_difficult == [1]


def test_parts_of_a_person_are_no_objects(devkit: Path) -> None:
    (sample,) = [sample for sample in list_voc(devkit, "train").samples if sample.key == "000001"]
    assert "<part>" in (devkit / "VOC2007" / "Annotations" / "000001.xml").read_text()
    assert sample.boxes == [(0, 0, 20, 30), (10, 5, 40, 36)]


def test_fractional_corners_and_absent_flags_are_read(devkit: Path) -> None:
    """As later years have them."""
    annotation = devkit / "VOC2007" / "Annotations" / "000004.xml"
    edit(annotation, "<xmin>4</xmin>", "<xmin>4.75</xmin>")
    edit(annotation, "\t\t<difficult>0</difficult>\n", "")
    (sample,) = [sample for sample in list_voc(devkit, "val").samples if sample.key == "000004"]
    assert (sample.boxes, sample.box_difficult) == ([(3.75, 3, 28, 24)], [0])


LYING = "<width>40</width>\n\t\t<height>24</height>"
STANDING = "<width>24</width>\n\t\t<height>40</height>"


NONE = "<width>0</width>\n\t\t<height>0</height>"


@pytest.mark.parametrize(
    ("size", "drawn", "tag"),
    [(LYING, "stored", tag) for tag in pictures.TAGS]
    + [(STANDING, "upright", 5), (STANDING, "upright", 8), (NONE, "stored", 1), (NONE, "stored", 6)],
)
def test_boxes_stay_on_a_picture_that_is_turned(devkit: Path, tmp_path: Path, size: str, drawn: str, tag: int) -> None:
    """Whether they were drawn on the stored pixels or on the upright ones, as <size> says."""
    stored = pictures.stored_pixels()
    upright = pictures.upright_of(stored, tag)
    x0, y0, x1, y1 = pictures.extent(stored if drawn == "stored" else upright)
    (devkit / "VOC2007/JPEGImages/000004.jpg").write_bytes(pictures.encoded(stored, "JPEG", tag))
    annotation = devkit / "VOC2007/Annotations/000004.xml"
    edit(annotation, "<width>48</width>\n\t\t<height>36</height>", size)
    old = "<xmin>4</xmin><ymin>4</ymin><xmax>28</xmax><ymax>24</ymax>"
    edit(annotation, old, f"<xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>")
    write_set(list_voc(devkit, "val"), tmp_path / "out", shard_size=9, workers=1, seed=0)
    record = records(tmp_path / "out")["000004"]
    assert (record["boxes"], (record["height"], record["width"])) == ([pictures.extent(upright)], upright.shape)
    assert verify(tmp_path / "out", workers=1).problems == []


@pytest.mark.parametrize("width", ["47", "36", "480", "4.8e2", "wide", "nan"])
def test_an_annotation_of_another_picture_is_named(devkit: Path, width: str) -> None:
    edit(devkit / "VOC2007/Annotations/000004.xml", "<width>48<", f"<width>{width}<")
    with pytest.raises(ValueError, match=r"000004\.xml(: the size| is of an image of .* but .*000004\.jpg is 48 x 36)"):
        list_voc(devkit, "val")


@pytest.mark.parametrize(("split", "count"), [("train", 3), ("val", 2), ("trainval", 5), ("test", 5)])
def test_splits_are_those_of_the_lists(devkit: Path, split: str, count: int) -> None:
    assert len(list_voc(devkit, split).samples) == count
    assert list_voc(devkit / "VOC2007", split) == list_voc(devkit, split)


def test_another_year_is_its_own_folder(devkit: Path) -> None:
    shutil.copytree(devkit / "VOC2007", devkit / "VOC2012")
    (devkit / "VOC2012" / "ImageSets" / "Main" / "train.txt").write_text("000001\n")
    for listed in (list_voc(devkit, "train", 2012), list_voc(devkit / "VOC2012", "train")):
        assert (listed.dataset, len(listed.samples)) == ("voc2012", 1)
    with pytest.raises(FileNotFoundError, match=r"VOCdevkit holds neither ImageSets/Main nor VOC1999/ImageSets/Main"):
        list_voc(devkit, "train", 1999)


@pytest.mark.parametrize("name", ["ImageSets/Main/test.txt", "Annotations/000009.xml", "JPEGImages/000009.jpg"])
def test_an_absent_file_is_named(devkit: Path, name: str) -> None:
    (devkit / "VOC2007" / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"VOC2007/{name} does not exist"):
        list_voc(devkit, "test")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</annotation>", "", "000009.xml is broken XML (no element found: line"),
        ("<name>sofa</name>", "<name>couch</name>", "000009.xml: object 1 is a 'couch', none of the 20 classes of VOC"),
        ("<xmin>10<", "<xmin>left<", "000009.xml: the box or flag of object 2 cannot be read (could not"),
        ("<ymax>20</ymax>", "", "000009.xml: the box or flag of object 2 cannot be read (could not"),
        ("<difficult>0<", "<difficult>no<", "000009.xml: the box or flag of object 1 cannot be read (could not"),
    ],
)
def test_a_bad_annotation_is_one_sentence(
    devkit: Path, old: str, new: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(devkit / "VOC2007" / "Annotations" / "000009.xml", old, new)
    with pytest.raises(ValueError, match=re.escape(message)):
        list_voc(devkit, "test")
    assert main(["voc", "--root", str(devkit), "--split", "test", "--out", str(devkit / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "unpack the official archive again" in error
    assert not (devkit / "out").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<xmax>48</xmax>", "<xmax>0</xmax>", r"000009\.jpg: box 0 \[0\.0, 9\.0, 0\.0, 36\.0\]"),
        ("<xmax>48</xmax>", "<xmax>50</xmax>", r"000009\.jpg: box 0 .* ends at most 1 pixel outside"),
        ("<xmax>48</xmax>", "<xmax>nan</xmax>", r"000009\.jpg: box 0 .*nan"),
        ("<difficult>0<", "<difficult>2<", r"000009\.jpg: box_difficult \[2\.0, 0\] are no whole numbers from 0 to 1"),
    ],
)
def test_what_breaks_a_rule_is_refused_while_writing(
    devkit: Path, tmp_path: Path, old: str, new: str, message: str
) -> None:
    edit(devkit / "VOC2007" / "Annotations" / "000009.xml", old, new)
    with pytest.raises(ValueError, match=message):
        write_set(list_voc(devkit, "test"), tmp_path / "out", shard_size=9, workers=1, seed=0)
    assert not (tmp_path / "out").exists()


def test_the_command_converts_and_verifies(voc_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "voc" / "test"
    arguments = ["--root", str(voc_root), "--split", "test", "--year", "2007", "--out", str(out), "--workers", "1"]
    assert main(["voc", *arguments]) == 0
    assert main(["verify", str(out)]) == 0
    assert "voc2007" in capsys.readouterr().out


def test_the_real_images_pass_verification(real_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "test"
    assert main(["voc", "--root", str(real_data / "VOCdevkit"), "--split", "test", "--out", str(out)]) == 0
    assert main(["verify", str(out)]) == 0
    lists = real_data / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main"
    assert read_index(out).count == len((lists / "test.txt").read_text().split())
    for record in records(out).values():
        assert record["label"] == sorted(set(record["box_labels"]))
        right, bottom = (max(box[side] for box in record["boxes"]) for side in (2, 3))
        assert right <= record["width"]
        assert bottom <= record["height"]
        assert min(min(box[:2]) for box in record["boxes"]) >= 0
