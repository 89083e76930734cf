import json
import os
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from tests.helpers import oriented_pictures as pictures
from tests.helpers.bird_sets import write_cub
from vitrine.data.shards.cli import main
from vitrine.data.shards.converter import write_set
from vitrine.data.shards.converters.cub import list_cub
from vitrine.data.shards.rules import RecordRules
from vitrine.data.shards.sample import encode_sample
from vitrine.data.shards.schema import read_index
from vitrine.data.shards.verifier import verify

REAL_DATA = os.environ.get("VITRINE_REAL_DATA")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_boxes_parts_labels_and_names_are_converted(cub_root: Path, tmp_path: Path) -> None:
    index = write_set(list_cub(cub_root, "train"), tmp_path / "out", shard_size=1000, workers=1, seed=0)
    assert index.classes == ["Black_footed_Albatross", "Laysan_Albatross"]
    assert index.part_names == ["back", "left eye", "tail"]
    assert (index.dataset, index.split, index.annotations) == ("cub", "train", ["boxes", "parts"])
    assert (index.count, index.class_counts) == (3, [1, 2])
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as tar:
        image = tar.extractfile("001_Black_footed_Albatross__A_2.jpg")
        record = tar.extractfile("001_Black_footed_Albatross__A_2.json")
        assert image is not None
        assert record is not None
        assert image.read() == (cub_root / "images" / "001.Black_footed_Albatross" / "A_2.jpg").read_bytes()
        assert json.loads(record.read()) == {
            "label": 0,
            "width": 8,
            "height": 6,
            "boxes": [[0.5, 1.0, 6.5, 4.0]],
            "parts": [[0.0, 0.0, 0], [2.5, 2.0, 1], [7.0, 5.0, 1]],
            "source": "001.Black_footed_Albatross/A_2.jpg",
        }
    assert verify(tmp_path / "out", workers=1).problems == []


def test_the_test_split_holds_the_rest(cub_root: Path) -> None:
    listed = list_cub(cub_root, "test")
    assert [sample.key for sample in listed.samples] == ["001_Black_footed_Albatross__A_1"]


@pytest.mark.parametrize(("per_class", "train"), [(3, 3), (5, 5), (50, 8)])
def test_a_split_of_ones_own(tmp_path: Path, per_class: int, train: int) -> None:
    """So many of each class are trained on, of all its ten images; at least a sixth of them is left to test."""
    root = write_cub(tmp_path / "CUB_200_2011", classes=3, train=6, test=4)
    keys = {}
    for split, count in (("train", train), ("test", 10 - train)):
        listed = list_cub(root, split, per_class)
        assert Counter(sample.label for sample in listed.samples) == {0: count, 1: count, 2: count}
        keys[split] = {sample.key for sample in listed.samples}
    assert not keys["train"] & keys["test"]
    if per_class == 3:
        official = {sample.key for sample in list_cub(root, "train").samples}
        assert not keys["train"] <= official  # drawn from both
        other = {sample.key for sample in list_cub(root, "train", 3, seed=1).samples}
        assert other != keys["train"] == {sample.key for sample in list_cub(root, "train", 3).samples}


@pytest.mark.parametrize(
    ("table", "row", "message"),
    [
        ("image_class_labels.txt", "3 2\n", "image_class_labels.txt has no line for image 3"),
        ("train_test_split.txt", "3 1\n", "train_test_split.txt has no line for image 3"),
        ("bounding_boxes.txt", "3 2.0 1.0 3.0 5.0\n", "bounding_boxes.txt has no line for image 3"),
        ("parts/part_locs.txt", "3 2 3.5 2.0 1\n", "part_locs.txt has no line for part 2 of image 3"),
    ],
)
def test_a_row_absent_from_a_table_is_named(cub_root: Path, table: str, row: str, message: str) -> None:
    edit(cub_root / table, row, "")
    with pytest.raises(ValueError, match=message):
        list_cub(cub_root, "train")


@pytest.mark.parametrize(
    ("table", "old", "new", "message"),
    [
        ("image_class_labels.txt", "3 2\n", "3 9\n", "gives image 3 the class 9, absent from classes.txt"),
        ("bounding_boxes.txt", "3 2.0 1.0 3.0 5.0", "3 2.0 1.0 3.0", "bounding_boxes.txt, line 3, has 4 entries"),
        ("bounding_boxes.txt", "3 2.0 1.0", "3 2.0 x", r"'2\.0 x 3\.0 5\.0' for 002\.Laysan_Albatross/L_1\.jpg"),
        ("train_test_split.txt", "4 1\n", "3 1\n", "train_test_split.txt, line 4, repeats the line of 3"),
    ],
)
def test_a_bad_row_is_named(cub_root: Path, table: str, old: str, new: str, message: str) -> None:
    edit(cub_root / table, old, new)
    with pytest.raises(ValueError, match=message):
        list_cub(cub_root, "train")


@pytest.mark.parametrize("tag", pictures.TAGS)
def test_box_and_parts_stay_on_an_image_that_is_turned(cub_root: Path, tag: int) -> None:
    """The set has no sizes, so that they count as drawn on the stored pixels."""
    image = cub_root / "images/002.Laysan_Albatross/L_1.jpg"
    image.write_bytes(pictures.encoded(pictures.stored_pixels(), "JPEG", tag))
    edit(cub_root / "bounding_boxes.txt", "3 2.0 1.0 3.0 5.0", "3 24 0 8 8")
    edit(cub_root / "parts/part_locs.txt", "3 2 3.5 2.0 1", "3 2 {} {} 1".format(*pictures.POINT))
    (sample,) = [sample for sample in list_cub(cub_root, "train").samples if sample.image == image]
    rules = RecordRules(2, multi_label=False, annotations=frozenset({"boxes", "parts"}), num_parts=3)
    record = json.loads(encode_sample(sample, rules)[f"{sample.key}.json"])
    assert record["boxes"] == [pictures.extent(pictures.upright_of(pictures.stored_pixels(), tag))]
    assert record["parts"][1] == [*pictures.upright_point(tag), 1]


def test_a_box_a_pixel_too_wide_is_clipped_and_counted(
    cub_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(cub_root / "bounding_boxes.txt", "4 0.0 0.0 8.0 6.0", "4 0.5 0.0 8.0 7.0")
    arguments = ["cub", "--root", str(cub_root), "--split", "train", "--workers", "1", "--out"]
    assert main([*arguments, str(tmp_path / "out")]) == 0
    assert "1 boxes that ended at most a pixel outside of their image, clipped." in capsys.readouterr().err
    edit(cub_root / "bounding_boxes.txt", "4 0.5", "4 2.5")
    assert main([*arguments, str(tmp_path / "other")]) == 2
    assert "L_2.jpg: box 0 [2.5, 0.0, 10.5, 7.0]" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["classes.txt", "parts/parts.txt", "images/002.Laysan_Albatross/L_1.jpg"])
def test_an_absent_file_is_named(cub_root: Path, name: str) -> None:
    (cub_root / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} does not exist"):
        list_cub(cub_root, "train")


def test_a_truncated_image_is_named_and_leaves_nothing(
    cub_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = cub_root / "images" / "002.Laysan_Albatross" / "L_1.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    out = tmp_path / "sets"
    assert main(["cub", "--root", str(cub_root), "--split", "train", "--out", str(out), "--workers", "1"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"{broken} is ")
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == [cub_root.name]


@pytest.mark.skipif(REAL_DATA is None, reason="VITRINE_REAL_DATA names no folder with CUB_200_2011")
def test_the_real_birds_pass_verification(tmp_path: Path) -> None:
    root = Path(str(REAL_DATA)) / "CUB_200_2011"
    listed = len((root / "images.txt").read_text().splitlines())
    for split in ("train", "test"):
        arguments = ["cub", "--root", str(root), "--split", split, "--out", str(tmp_path / split)]
        assert main([*arguments, "--shard-size", "100"]) == 0
        assert main(["verify", str(tmp_path / split)]) == 0
    indexes = [read_index(tmp_path / split) for split in ("train", "test")]
    assert sum(index.count for index in indexes) == listed
    assert all(len(index.part_names or []) == 15 for index in indexes)
    assert indexes[0].classes[:2] == ["Black_footed_Albatross", "Laysan_Albatross"]
