import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers import image_sets as sets
from tests.helpers import oriented_pictures as pictures
from vitrine.data.shards.cli import main
from vitrine.data.shards.converter import write_set
from vitrine.data.shards.converters.saliency import has_split, list_saliency
from vitrine.data.shards.rules import RecordRules
from vitrine.data.shards.sample import encode_sample
from vitrine.data.shards.verifier import verify

RULES = RecordRules(0, multi_label=True, annotations=frozenset({"mask"}))


@pytest.mark.parametrize(
    ("layout", "split", "source"),
    [
        ("MSRA-B", "test", "0_1.jpg"),
        ("ECSSD", "test", "images/0_1.jpg"),
        ("DUTS-TE", "test", "DUTS-TE-Image/0_1.jpg"),
        ("DUTS-TR", "train", "DUTS-TR-Image/0_1.jpg"),
    ],
)
def test_each_layout_is_found(layout: str, split: str, source: str, tmp_path: Path) -> None:
    root = sets.write_saliency(tmp_path / "set", layout)
    listed = list_saliency(root, split)
    assert (listed.dataset, listed.split, listed.annotations) == ("saliency", split, ("mask",))
    assert [sample.key for sample in listed.samples] == ["0_0", "0_1", "0_2"]
    assert listed.samples[1].extra == {"source": source}
    index = write_set(listed, tmp_path / "out", shard_size=2, workers=1, seed=0)
    assert (index.count, index.classes, index.class_counts, index.multi_label) == (3, [], [], True)
    assert verify(tmp_path / "out", workers=1).problems == []


def test_the_splits_of_duts_lie_side_by_side(tmp_path: Path) -> None:
    sets.write_saliency(tmp_path / "DUTS" / "DUTS-TE", "DUTS-TE", 2)
    assert not has_split(tmp_path / "DUTS", "train")
    with pytest.raises(FileNotFoundError, match="DUTS has no images of the split train: unpack their archive there"):
        list_saliency(tmp_path / "DUTS", "train")
    sets.write_saliency(tmp_path / "DUTS" / "DUTS-TR", "DUTS-TR", 3)
    assert len(list_saliency(tmp_path / "DUTS", "test").samples) == 2
    assert len(list_saliency(tmp_path / "DUTS", "train").samples) == 3


@pytest.mark.parametrize(
    ("values", "on"),
    [((0, 127, 128, 255), (0, 0, 1, 1)), ((0, 1), (0, 1)), ((0, 100), (0, 1)), ((0, 0), (0, 0)), ((255, 255), (1, 1))],
)
def test_masks_are_on_where_their_values_say_so(values: tuple[int, ...], on: tuple[int, ...], tmp_path: Path) -> None:
    root = sets.write_saliency(tmp_path, count=1)
    sets.write_mask(root / "0_0.png", values)
    (sample,) = list_saliency(root).samples
    members = encode_sample(sample, RULES)
    mask = np.asarray(Image.open(io.BytesIO(members["0_0.mask.png"]))) != 0
    assert np.array_equal(mask, np.resize(np.array(on, bool), sets.SIZE[0])[None].repeat(sets.SIZE[1], 0))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "0_1.png").unlink(), "0_1.jpg has no mask of the same name: add that"),
        (lambda root: (root / "0_2.jpg").unlink(), "0_2.png has no image of the same name: add that"),
        (lambda root: sets.write_mask(root / "0_1.png", size=(10, 12)), "0_1.png is 10 x 12, its image 12 x 10"),
        (lambda root: (root / "0_1.png").write_bytes(b""), "0_1.png is no image that Pillow can read"),
        (lambda root: sets.write_picture(root / "0_1.jpeg"), "0_1.jpg have one name: rename or remove one"),
        (lambda root: [path.unlink() for path in root.glob("*.jpg")], "holds no pairs of NAME.jpg and NAME.png"),
    ],
)
def test_bad_input_is_one_sentence(
    spoil: Callable[[Path], object], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = sets.write_saliency(tmp_path / "set")
    spoil(root)
    assert main(["saliency", "--root", str(root), "--out", str(tmp_path / "out"), "--workers", "1"]) == 2
    error = capsys.readouterr().err
    assert re.search(re.escape(message), error)
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_command_converts_on_two_processes(tmp_path: Path) -> None:
    root = sets.write_saliency(tmp_path / "set")
    options = ["--root", str(root), "--shard-size", "2", "--workers", "2", "--out", str(tmp_path / "out")]
    assert main(["saliency", *options]) == 0
    assert main(["verify", str(tmp_path / "out"), "--workers", "1"]) == 0


@pytest.mark.parametrize("tag", pictures.TAGS)
@pytest.mark.parametrize("drawn", ["stored", "upright"])
def test_masks_stay_on_an_image_that_is_turned(tag: int, drawn: str, tmp_path: Path) -> None:
    stored = pictures.stored_pixels()
    upright = pictures.upright_of(stored, tag)
    mask = upright if drawn == "upright" and tag >= 5 else stored
    (tmp_path / "a.jpg").write_bytes(pictures.encoded(stored, "JPEG", tag))
    (tmp_path / "a.png").write_bytes(pictures.encoded(mask))
    members = encode_sample(list_saliency(tmp_path).samples[0], RULES)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(members["a.mask.png"]))), upright)


def test_masks_that_are_off_everywhere_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = sets.write_saliency(tmp_path / "set", count=4)
    for number, value in enumerate((0, 0, 255)):
        sets.write_mask(root / f"0_{number}.png", (value,))
    options = ["--root", str(root), "--shard-size", "2", "--workers", "2", "--out", str(tmp_path / "out")]
    assert main(["saliency", *options]) == 0
    error = capsys.readouterr().err
    assert "out: 2 masks that are off everywhere." in error
    assert "out: 1 masks that are on everywhere." in error
