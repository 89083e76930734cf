import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import image_sets as sets
from tests.helpers import oriented_pictures as pictures
from vitrine.data.shards.cli import main
from vitrine.data.shards.converters.wsol import list_wsol
from vitrine.data.shards.rules import RecordRules
from vitrine.data.shards.sample import encode_sample
from vitrine.data.shards.schema import read_index
from vitrine.data.shards.verifier import verify

TABLES = {
    "class_labels.txt": "val/a.JPEG,3\nval/b.JPEG,0\n",
    "localization.txt": "val/a.JPEG,0,0,11,9\nval/b.JPEG,2,3,4,5\nval/a.JPEG,5,5,5,8\n",
    "image_sizes.txt": "val/a.JPEG,12,10\nval/b.JPEG,12,10\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed, name in enumerate(("a", "b")):
        sets.write_picture(tmp_path / "set" / "val" / f"{name}.JPEG", seed)
    for name, text in TABLES.items():
        sets.write_text(tmp_path / "set" / name, text)
    return tmp_path / "set"


def test_labels_and_boxes_are_read(root: Path) -> None:
    listed = list_wsol(root)
    assert (listed.dataset, listed.split, listed.annotations) == ("wsol", "test", ("boxes",))
    assert listed.classes == ["0", "1", "2", "3"]
    one, other = listed.samples
    assert (one.key, one.label, one.boxes) == ("val__a", 3, [(0, 0, 12, 10), (5, 5, 6, 9)])
    assert (other.key, other.label, other.boxes) == ("val__b", 0, [(2, 3, 5, 6)])


@pytest.mark.parametrize(("sizes", "boxes"), [("12,10", [[2, 2, 10, 6]]), ("10,12", [[2, 4, 6, 12]])])
def test_boxes_are_turned_with_a_picture_of_their_size(root: Path, sizes: str, boxes: list[list[int]]) -> None:
    """A picture of 12 x 10 that stands upright at 10 x 12: (x, y) becomes (9 - y, x)."""
    picture = np.zeros((10, 12), np.uint8)
    (root / "val/a.JPEG").write_bytes(pictures.encoded(picture, "JPEG", 6))
    sets.write_text(root / "image_sizes.txt", f"val/a.JPEG,{sizes}\nval/b.JPEG,12,10\n")
    sets.write_text(root / "localization.txt", "val/a.JPEG,2,4,5,11\nval/b.JPEG,2,3,4,5\n")
    if sizes == "12,10":
        sets.write_text(root / "localization.txt", "val/a.JPEG,2,0,5,7\nval/b.JPEG,2,3,4,5\n")
    sample = list_wsol(root).samples[0]
    rules = RecordRules(4, multi_label=False, annotations=frozenset({"boxes"}))
    assert json.loads(encode_sample(sample, rules)["val__a.json"])["boxes"] == boxes


def test_tables_may_lie_elsewhere_and_images_in_one_folder(root: Path, tmp_path: Path) -> None:
    assert list_wsol(root / "val", metadata=root).samples == [
        sample for sample in list_wsol(root).samples if sample.image == root / "val" / Path(str(sample.image)).name
    ]


def test_a_list_of_ids_chooses_the_images(root: Path) -> None:
    sets.write_text(root / "image_ids.txt", "val/b.JPEG\n")
    assert [sample.key for sample in list_wsol(root).samples] == ["val__b"]


def test_classes_come_from_a_file_of_wnids(root: Path, tmp_path: Path) -> None:
    path = sets.write_text(tmp_path / "wnids.txt", "".join(f"{w} {t}\n" for w, t in sets.WNIDS.items()) + "n09999999\n")
    assert list_wsol(root, classes_from=path).classes == [
        "tench",
        "crane (n02012849)",
        "crane (n03126707)",
        "n09999999",
    ]
    sets.write_text(path, "n01440764\n")
    with pytest.raises(ValueError, match=r"gives val/a\.JPEG the label 3, but .*wnids\.txt lists 1 classes"):
        list_wsol(root, classes_from=path)


@pytest.mark.parametrize(
    ("table", "old", "new", "message"),
    [
        ("image_sizes.txt", "a.JPEG,12,10", "a.JPEG,10,12", "val/a.JPEG is 10 x 12, but {}/val/a.JPEG is 12 x 10: its boxes"),
        ("image_sizes.txt", "a.JPEG,12,10\n", "a.JPEG,12\n", "line 1, is 'val/a.JPEG,12' and no path with 2 further"),
        ("image_sizes.txt", "a.JPEG,12,10\n", "", "image_sizes.txt has no line for val/b.JPEG"),
        ("class_labels.txt", "a.JPEG,3", "a.JPEG,n01440764", "has 'n01440764' for val/a.JPEG, which is no whole number"),
        ("class_labels.txt", "a.JPEG,3", "b.JPEG,3", "class_labels.txt repeats the line of val/b.JPEG: remove one"),
        ("class_labels.txt", "a.JPEG", "c.JPEG", "image_sizes.txt has no line for val/c.JPEG: add it"),
        ("localization.txt", "b.JPEG,2", "b.JPEG,x", "has the box 'x,3,4,5' for val/b.JPEG, which are no numbers"),
        ("localization.txt", "val/b.JPEG,2,3,4,5\n", "", "localization.txt has no line for val/b.JPEG"),
        ("localization.txt", "b.JPEG,2,3", "b.JPEG,12,3", "b.JPEG: box 0 [12.0, 3.0, 5.0, 6.0] is no x0 < x1"),
    ],
)  # fmt: skip
def test_a_bad_row_is_one_sentence(
    root: Path, table: str, old: str, new: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (root / table).read_text().replace(old, new, 1)
    if message.startswith("image_sizes.txt has no line for val/b"):
        text = "val/a.JPEG,12,10\n"
    sets.write_text(root / table, text)
    assert main(["wsol", "--root", str(root), "--out", str(root / "out"), "--workers", "1"]) == 2
    error = capsys.readouterr().err
    assert message.format(root) in error
    assert error.count("\n") == 1
    assert not (root / "out").exists()


@pytest.mark.parametrize("name", [*TABLES, "val/a.JPEG"])
def test_an_absent_file_is_named(root: Path, name: str) -> None:
    (root / name).unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(f"{root / name} does not exist")):
        list_wsol(root)


def test_the_real_images_have_boxes_that_hold_both_ends(real_data: Path, tmp_path: Path) -> None:
    """One reaches the last column, 499 of 500; none goes beyond."""
    folder = real_data / "imagenet_val_with_boxes"
    wnids = sorted(path.name.partition("_")[0] for path in (real_data / "imagenet_samples").iterdir())
    names = sets.write_text(tmp_path / "wnids.txt", "\n".join(wnids))
    out = tmp_path / "test"
    assert main(["wsol", "--root", str(folder), "--classes-from", str(names), "--out", str(out)]) == 0
    assert (read_index(out).count, len(read_index(out).classes)) == (8, 1000)
    assert verify(out, workers=1).problems == []
    samples = {sample.key: sample for sample in list_wsol(folder).samples}
    assert samples["val__ILSVRC2012_val_00001106"].boxes == [(112, 43, 500, 301), (125, 237, 180, 296)]
    rows = (row.split(",") for row in (folder / "image_sizes.txt").read_text().splitlines())
    for name, width, height in rows:
        boxes = samples[name.replace("/", "__").removesuffix(".JPEG")].boxes or []
        assert all(0 <= x0 < x1 <= int(width) and 0 <= y0 < y1 <= int(height) for x0, y0, x1, y1 in boxes)
