import shutil
from pathlib import Path
from typing import Any

import pytest
import torchvision

from tests.helpers import scene_sets
from vitrine.data.shards.cli import main
from vitrine.data.shards.converters.places import PlacesSelection, list_places
from vitrine.data.shards.converters.scenes import ROOMS, canonical, read_categories
from vitrine.data.shards.schema import read_index

CLASSES = ["airfield", "apartment_building/outdoor", "bedroom", "field/wild", "field_road"]


@pytest.fixture
def easy(tmp_path: Path) -> Path:
    return Path(scene_sets.write_easy_places(tmp_path / "places365_standard", CLASSES, train=4, val=2))


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    return Path(scene_sets.write_listed_places(tmp_path / "places365", CLASSES, train=4, val=2))


def sources(root: Path, split: str, selection: PlacesSelection) -> list[str]:
    return sorted(sample.extra["source"] for sample in list_places(root, split, selection).samples)


def test_easyformat(easy: Path) -> None:
    found = list_places(easy, "train")
    assert found.classes == ["airfield", "apartment_building-outdoor", "bedroom", "field-wild", "field_road"]
    assert [canonical(name) for name in found.classes] == [canonical(name) for name in CLASSES]
    assert [sample.labels[0] for sample in found.samples] == [label for label in range(5) for _ in range(4)]
    assert len(list_places(easy, "val").samples) == 10
    assert list_places(easy, "val").classes == found.classes


def test_easyformat_takes_the_labels_of_a_list_of_categories(tmp_path: Path) -> None:
    known = [*CLASSES[:2], "attic", *CLASSES[2:]]
    root = scene_sets.write_easy_places(tmp_path / "set", CLASSES, 1, 1, categories=known)
    found = list_places(root, "train")
    assert found.classes == known
    assert {sample.extra["source"].split("/")[1]: sample.labels for sample in found.samples} == {
        name.replace("/", "-"): [known.index(name)] for name in CLASSES
    }


@pytest.mark.parametrize("size", ["256", "large"])
def test_archives_of_lists_and_images(tmp_path: Path, size: str) -> None:
    root = scene_sets.write_listed_places(tmp_path / "set", CLASSES, 3, 2, size)
    found = list_places(root, "train")
    assert found.classes == CLASSES
    assert {(sample.extra["source"], *sample.labels) for sample in found.samples} == {
        (f"data_{size}_standard/{name[0]}/{name}/0000000{number}.jpg", label)
        for label, name in enumerate(CLASSES)
        for number in (1, 2, 3)
    }
    val = list_places(root, "val").samples
    assert [(sample.key, *sample.labels) for sample in val][:3] == [
        (f"val_{size}__Places365_val_{number:08d}", label) for number, label in ((1, 0), (6, 0), (2, 1))
    ]


def test_folders_may_be_named_as_the_archives_name_them(listed: Path) -> None:
    before = [sample.labels for sample in list_places(listed, "train").samples]
    shutil.move(listed / "data_256_standard", listed / "data_256")
    (listed / "filelist_places365-standard").mkdir()
    for path in listed.glob("*.txt"):
        shutil.move(path, listed / "filelist_places365-standard")
    assert [sample.labels for sample in list_places(listed, "train").samples] == before


@pytest.mark.parametrize("split", ["train", "val"])
def test_images_and_labels_are_those_that_torchvision_reads(
    listed: Path, split: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision.datasets.Places365, "_check_integrity", lambda *_: True)
    name = "train-standard" if split == "train" else split
    other = torchvision.datasets.Places365(str(listed), name, small=True)
    ours = {(str(sample.image), sample.labels[0]) for sample in list_places(listed, split).samples}
    assert ours == set(zip([path for path, _ in other.imgs], other.targets, strict=True))


@pytest.mark.parametrize("kind", ["easy", "listed"])
def test_shares_are_drawn_by_the_seed(kind: str, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue(kind)
    three = sources(root, "train", PlacesSelection(per_class=3))
    assert len(three) == 15
    assert three == sources(root, "train", PlacesSelection(per_class=3))
    assert set(sources(root, "train", PlacesSelection(per_class=2))) < set(three)
    assert len({tuple(sources(root, "train", PlacesSelection(per_class=2, seed=seed))) for seed in range(5)}) > 1
    rest = sources(root, "train", PlacesSelection(per_class=3, skip=3))
    assert sorted(three + rest) == sources(root, "train", PlacesSelection())


@pytest.mark.parametrize("kind", ["easy", "listed"])
def test_some_scenes_keep_their_labels(kind: str, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue(kind)
    found = list_places(root, "train", PlacesSelection(["field_wild", "bedroom"], per_class=3, others=1))
    assert len(found.classes) == 5
    counts = [sum(sample.labels == [label] for sample in found.samples) for label in range(5)]
    assert counts == [1, 1, 3, 3, 1]
    alone = list_places(root, "train", PlacesSelection(["bedroom"]))
    assert [sample.labels for sample in alone.samples] == [[2]] * 4


def test_the_command_converts_and_verifies(listed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--scenes", "bedroom", "airfield", "--per-class", "2", "--others", "1", "--skip", "1", "--workers", "1"]
    assert main(["places365", "--root", str(listed), "--split", "train", "--out", str(out), *options]) == 0
    assert main(["verify", str(out), "--workers", "1"]) == 0
    index = read_index(out)
    assert (index.dataset, index.classes, index.class_counts) == ("places365", CLASSES, [2, 1, 2, 1, 1])


def append(name: str, text: str) -> Any:
    def damage(root: Path) -> None:
        with (root / name).open("a") as file:
            file.write(text)

    return damage


BROKEN: dict[str, tuple[str, Any, str]] = {
    "no list": ("listed", lambda root: (root / "places365_train_standard.txt").unlink(), "train_standard.txt does not"),
    "no categories": (
        "listed",
        lambda root: (root / "categories_places365.txt").unlink(),
        "holds neither categories_places365.txt nor",
    ),
    "no images": (
        "listed",
        lambda root: shutil.rmtree(root / "data_256_standard"),
        "has no folder data_256_standard or",
    ),
    "no image": (
        "listed",
        lambda root: (root / "data_256_standard/b/bedroom/00000002.jpg").unlink(),
        "does not exist: re",
    ),
    "label": (
        "listed",
        append("places365_train_standard.txt", "/a/airfield/9.jpg 5\n"),
        "line 21, is '/a/airfield/9.jpg",
    ),
    "row": ("listed", append("places365_train_standard.txt", "airfield\n"), "line 21, is 'airfield' and no image with"),
    "doubled": ("listed", append("categories_places365.txt", "/b/bedroom 5\n"), "lists /b/bedroom twice: remove"),
    "index": (
        "listed",
        append("categories_places365.txt", "/c/cave 9\n"),
        "/c/cave has the index 9 in place of 5: sort",
    ),
    "folder": ("easy", lambda root: shutil.rmtree(root / "train"), "train is no folder: give"),
    "empty class": (
        "easy",
        lambda root: shutil.rmtree(root / "train" / "bedroom"),
        "no train images of bedroom: unpack",
    ),
    "image": ("easy", lambda root: (root / "train/bedroom/00000002.jpg").write_text("no"), "2.jpg is no image that"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_input_is_one_sentence(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, damage, told = BROKEN[name]
    root, out = request.getfixturevalue(kind), tmp_path / "out"
    damage(root)
    arguments = ["--root", str(root), "--split", "train", "--scenes", "bedroom", "--out", str(out), "--workers", "1"]
    assert main(["places365", *arguments]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_a_folder_of_no_known_class_is_named(easy: Path) -> None:
    scene_sets.write_categories(easy / "categories_places365.txt", CLASSES[1:])
    with pytest.raises(
        ValueError, match=r"train/airfield is the folder of no class that categories_places365\.txt lists"
    ):
        list_places(easy, "train")


def test_an_unknown_scene_is_named(easy: Path) -> None:
    with pytest.raises(
        ValueError, match=r"'bedrooms' is no scene category of .*places365_standard: give names such as"
    ):
        list_places(easy, "train", PlacesSelection(["bedrooms"]))


@pytest.mark.parametrize("name", ["/b/booth/indoor", "booth/indoor", "booth-indoor", "booth__indoor", "booth_indoor"])
def test_spellings_of_one_scene(name: str) -> None:
    assert canonical(name) == "booth_indoor"


def test_lists_of_classes_may_have_no_indices(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\n".join(ROOMS))
    assert read_categories(tmp_path / "names.txt") == list(ROOMS)
