import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.helpers import image_sets as sets
from vitrine.data.shards.cli import main
from vitrine.data.shards.converter import write_set
from vitrine.data.shards.converters.tiny_imagenet import list_tiny_imagenet
from vitrine.data.shards.verifier import verify


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return Path(sets.write_tiny_imagenet(tmp_path / "tiny-imagenet-200"))


@pytest.fixture
def thousand(tmp_path: Path) -> Path:
    """1,000 wnids, of which n01440764 is the first, n02012849 number 134 and n03126707 number 517 when they are sorted."""
    wnids = [f"n015{number:05d}" for number in range(133)] + [f"n025{number:05d}" for number in range(382)]
    wnids += [f"n045{number:05d}" for number in range(482)] + list(sets.WNIDS)
    return Path(sets.write_text(tmp_path / "thousand.txt", "\n".join(wnids)))


def test_boxes_hold_both_ends_and_become_half_open(root: Path, tmp_path: Path) -> None:
    listed = list_tiny_imagenet(root, "train")
    assert (listed.dataset, listed.split, listed.annotations) == ("tiny-imagenet", "train", ("boxes",))
    assert listed.classes == ["crane (n03126707)", "crane (n02012849)", "tench"]
    boxes = {sample.key: sample.boxes for sample in listed.samples}
    assert boxes["n01440764_0"] == [(0, 0, 64, 31)]
    assert boxes["n02012849_1"] == [(1, 0, 64, 32)]
    val = list_tiny_imagenet(root, "val")
    assert [sample.boxes for sample in val.samples] == [[(10, 20, 11, 63)]] * 3
    assert val.samples[0].extra == {"source": "val/images/val_0.JPEG", "wnid": "n01440764"}
    for part in (listed, val):
        out = tmp_path / part.split
        write_set(part, out, shard_size=4, workers=1, seed=0)
        assert verify(out, workers=1).problems == []


def test_labels_are_places_in_the_sets_own_list_or_in_imagenets(root: Path, thousand: Path) -> None:
    own = list_tiny_imagenet(root, "val")
    assert [sample.label for sample in own.samples] == [2, 1, 0]
    imagenet = list_tiny_imagenet(root, "val", "imagenet", thousand)
    assert [sample.label for sample in imagenet.samples] == [0, 134, 517]
    assert len(imagenet.classes) == 1000
    assert [imagenet.classes[label] for label in (0, 134, 517)] == ["tench", "crane (n02012849)", "crane (n03126707)"]
    train = {sample.key: sample.label for sample in list_tiny_imagenet(root, "train", "imagenet", thousand).samples}
    assert train["n02012849_1"] == 134


def test_words_are_not_needed(root: Path) -> None:
    (root / "words.txt").unlink()
    assert list_tiny_imagenet(root, "val").classes == ["n03126707", "n02012849", "n01440764"]


def test_a_list_that_is_not_imagenets_is_refused(root: Path, thousand: Path) -> None:
    with pytest.raises(ValueError, match=r"needs the wnids of ILSVRC: give a file .* with --wnids"):
        list_tiny_imagenet(root, "val", "imagenet")
    with pytest.raises(ValueError, match=r"thousand\.txt is for the class index imagenet: choose that, or leave"):
        list_tiny_imagenet(root, "val", "own", thousand)
    with pytest.raises(ValueError, match=r"wnids\.txt lists 3 wnids: give all 1000 of ILSVRC"):
        list_tiny_imagenet(root, "val", "imagenet", root / "wnids.txt")
    sets.write_text(thousand, thousand.read_text().replace("n02012849", "n02012850"))
    with pytest.raises(ValueError, match=r"val_1\.JPEG is of the class n02012849, which .*thousand\.txt does not list"):
        list_tiny_imagenet(root, "val", "imagenet", thousand)


def replace(name: str, old: str, new: str) -> Callable[[Path], object]:
    return lambda root: (root / name).write_text((root / name).read_text().replace(old, new, 1))


@pytest.mark.parametrize(
    ("split", "spoil", "message"),
    [
        ("val", replace("val/val_annotations.txt", "n02012849", "n02012850"), "is of the class n02012850, which"),
        ("val", replace("val/val_annotations.txt", "\t62\n", "\n"), "line 1, has 5 entries in place of 6"),
        ("val", replace("val/val_annotations.txt", "\t62\n", "\tx\n"), "the box '10 20 10 x' for val_0.JPEG, which are no"),
        ("val", replace("val/val_annotations.txt", "\t10\t20", "\t64\t20"), "val_0.JPEG: box 0 [64.0, 20.0, 11.0, 63.0] is"),
        ("val", lambda root: (root / "val/images/val_2.JPEG").unlink(), "images/val_2.JPEG does not exist though"),
        ("val", lambda root: (root / "val/val_annotations.txt").unlink(), "val/val_annotations.txt does not exist"),
        ("val", lambda root: (root / "wnids.txt").unlink(), "wnids.txt does not exist: give a file with a wnid"),
        ("val", replace("wnids.txt", "n02012849\n", ""), "is of the class n02012849, which"),
        ("val", lambda root: (root / "wnids.txt").write_text("\n"), "wnids.txt is empty"),
        ("train", replace("wnids.txt", "n02012849\n", ""), "train/n02012849 is the folder of a class that"),
        ("train", lambda root: (root / "train/n02012849/n02012849_boxes.txt").unlink(), "n02012849_boxes.txt does not exist"),
        ("train", lambda root: shutil.rmtree(root / "train/n02012849"), "n02012849_boxes.txt does not exist"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(
    root: Path, split: str, spoil: Callable[[Path], object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(root)
    out = root / "out"
    assert main(["tiny-imagenet", "--root", str(root), "--split", split, "--out", str(out), "--workers", "1"]) == 2
    error = capsys.readouterr().err
    assert re.search(re.escape(message), error)
    assert error.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_real_boxes_reach_the_last_pixel(real_data: Path, tmp_path: Path, split: str) -> None:
    """63 is the highest number in the files, so boxes hold both of their ends."""
    wnids = sorted(path.name.partition("_")[0] for path in (real_data / "imagenet_samples").iterdir())
    names = sets.write_text(tmp_path / "wnids.txt", "\n".join(wnids))
    listed = list_tiny_imagenet(real_data / "tiny_imagenet_200", split, "imagenet", names)
    boxes = [sample.boxes[0] for sample in listed.samples if sample.boxes]
    assert len(boxes) == len(listed.samples) == 2000
    assert min(min(box) for box in boxes) == 0
    assert max(max(box) for box in boxes) == 64
    assert listed.classes[:2] == ["tench", "goldfish"]
    assert all(sample.extra["wnid"] == wnids[sample.label] for sample in listed.samples)  # type: ignore[index]
    small = SimpleNamespace(**{**vars(listed), "samples": listed.samples[:50]})
    write_set(small, tmp_path / "out", shard_size=50, workers=1, seed=0)  # type: ignore[arg-type]
    assert verify(tmp_path / "out", workers=1).problems == []
