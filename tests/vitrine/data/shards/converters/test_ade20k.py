"""ADE20K's converter: both formats, chosen scenes, and labels of a network."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers import scene_sets
from tests.helpers.scene_sets import CHALLENGE, FULL
from vitrine.data.shards.cli import main
from vitrine.data.shards.converter import write_set
from vitrine.data.shards.converters.ade20k import list_ade20k
from vitrine.data.shards.schema import read_index


def contents(split: Path) -> dict[str, tuple[dict[str, Any], Any]]:
    """The record and the object map of each sample, by key, read without the project's readers."""
    files = {}
    for shard in sorted(split.glob("*.tar")):
        with tarfile.open(shard) as tar:
            files.update({member.name: tar.extractfile(member).read() for member in tar})  # type: ignore[union-attr]
    keys = [name.removesuffix(".json") for name in files if name.endswith(".json")]
    return {
        key: (json.loads(files[f"{key}.json"]), np.asarray(Image.open(io.BytesIO(files[f"{key}.objects.png"]))))
        for key in keys
    }


def test_the_full_format(full: Path, tmp_path: Path) -> None:
    index = write_set(list_ade20k(full), tmp_path / "out", shard_size=4, workers=1, seed=0)
    assert index.classes == ["apse__indoor", "bedroom", "rural/street", "urban/street"]
    assert index.class_counts == [1, 3, 1, 1]
    assert (index.dataset, index.split, index.annotations) == ("ade20k", "all", ["objects"])
    assert read_index(tmp_path / "out").object_names == index.object_names
    names = index.object_names or []
    assert {names[identifier - 1]: identifier for identifier in scene_sets.OBJECTS.values()} == scene_sets.OBJECTS
    assert sum(map(bool, names)) == len(scene_sets.OBJECTS)
    found = contents(tmp_path / "out")
    assert len(found) == 6
    for number, (split, scene, stem) in enumerate(FULL):
        record, ids = found[f"{split}__{scene.replace('/', '__')}__{stem}"]
        assert ids.dtype == np.uint16
        assert np.array_equal(ids, scene_sets.full_ids(number))
        assert index.classes[record["label"]] in {scene, scene.partition("/")[2]}
        assert record["source"] == f"{split}/{scene}/{stem}.jpg"
    assert main(["verify", str(tmp_path / "out"), "--workers", "1"]) == 0


def test_the_challenge(challenge: Path, tmp_path: Path) -> None:
    index = write_set(list_ade20k(challenge.parent), tmp_path / "out", shard_size=4, workers=1, seed=0)
    assert index.classes == ["apse_indoor", "bedroom"]
    assert index.object_names == [f"object {number}, thing {number}" for number in range(1, 151)]
    found = contents(tmp_path / "out")
    for number, (split, scene, stem) in enumerate(CHALLENGE):
        record, ids = found[f"{split}__{stem}"]
        assert index.classes[record["label"]] == scene
        assert ids.dtype == np.uint16
        assert np.unique(ids).tolist() == [0, number + 1]
        assert (ids == number + 1).sum() == 80
    for split, count in (("training", 2), ("validation", 1)):
        assert len(list_ade20k(challenge, split).samples) == count


def test_some_scenes_alone_are_classes(full: Path) -> None:
    listed = list_ade20k(full, scenes=["bedroom", "apse_indoor"])
    assert (listed.classes, len(listed.samples), listed.notes) == (["apse__indoor", "bedroom"], 4, [])
    assert [sample.labels for sample in list_ade20k(full, scenes=["urban/street"]).samples] == [[0]]
    assert len(list_ade20k(full, scenes=["street"]).samples) == 2


@pytest.mark.parametrize("kind", ["full", "challenge"])
def test_labels_may_be_those_of_a_network(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    names = tmp_path / "categories_places365.txt"
    names.write_text("/a/airfield 0\n/a/apse/indoor 1\n/b/bedroom 2\n")
    root, out = request.getfixturevalue(kind), tmp_path / "out"
    arguments = ["--root", str(root), "--split", "all", "--classes-from", str(names), "--out", str(out)]
    assert main(["ade20k", *arguments, "--workers", "1"]) == 0
    index = read_index(out)
    assert index.classes == ["airfield", "apse/indoor", "bedroom"]
    assert index.class_counts == ([0, 1, 3] if kind == "full" else [0, 1, 2])
    assert {record["source"].split("_")[-1] for record, _ in contents(out).values() if record["label"] == 2} == (
        {"00000001.jpg", "00000004.jpg"} if kind == "full" else {"00000001.jpg"}
    )


def test_what_is_left_out_is_counted(full: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "names.txt").write_text("bedroom\napse__indoor\n")
    arguments = ["--split", "all", "--classes-from", str(tmp_path / "names.txt"), "--out", str(tmp_path / "out")]
    assert main(["ade20k", "--root", str(full), *arguments, "--workers", "1"]) == 0
    told = "2 images of 2 scenes that are no class were left out, such as urban/street, rural/street.\n"
    assert capsys.readouterr().err.endswith(told)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"scenes": ["bedrom"]}, "'bedrom' is no scene category of"),
        ({"classes": ["airfield"]}, "has no image of these scenes in split all"),
        ({"scenes": ["apse_indoor"], "split": "validation"}, "has no image of these scenes in split validation"),
    ],
)
def test_unknown_scenes_are_named(full: Path, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        list_ade20k(full, **options)


def test_the_real_images_of_the_full_format(real_data: Path, tmp_path: Path) -> None:
    """Each object without parts of its own lies, in the map, where its own instance mask says that it is visible."""
    root = real_data / "ade20k"
    index = write_set(list_ade20k(root, "training"), tmp_path / "out", shard_size=9, workers=1, seed=0)
    assert main(["verify", str(tmp_path / "out"), "--workers", "1"]) == 0
    found = contents(tmp_path / "out")
    assert (index.count, index.classes) == (3, ["street"])
    names = index.object_names or []
    checked = 0
    for record, ids in found.values():
        image = root / "ADE20K_2021_17_01" / "images" / "ADE" / record["source"]
        labelled = {names[identifier - 1] for identifier in np.unique(ids[ids > 0]).tolist()}
        objects = json.loads(image.with_suffix(".json").read_text())["annotation"]["object"]
        assert labelled == {entry["name"] for entry in objects if entry["parts"]["part_level"] == 0}
        for entry in objects:
            if entry["parts"]["part_level"] == 0:
                mask = np.asarray(Image.open(image.parent / entry["instance_mask"]))
                checked += 1
                assert set(ids[mask == 255].tolist()) == {entry["name_ndx"]}
    assert checked > 100
    large = {name for record, ids in found.values() for name in (names[np.bincount(ids[ids > 0]).argmax() - 1],)}
    assert large == {"road, route", "building, edifice", "sidewalk, pavement"}


def test_the_real_images_of_the_challenge(real_data: Path, tmp_path: Path) -> None:
    root = real_data / "ade20k" / "sceneparsing"
    with pytest.raises(FileNotFoundError, match=r"sceneCategories\.txt does not exist: give a file .* as --scene-file"):
        list_ade20k(root)
    scenes = tmp_path / "scenes.txt"
    scenes.write_text("".join(f"ADE_val_0000000{number} abbey\n" for number in (1, 2, 3)))
    listed = list_ade20k(root, "validation", scene_file=scenes)
    index = write_set(listed, tmp_path / "out", shard_size=9, workers=1, seed=0)
    names = index.object_names or []
    assert (names[0], names[2], names[149]) == ("wall", "sky", "flag")
    for key, (_, ids) in contents(tmp_path / "out").items():
        assert np.array_equal(ids, np.asarray(Image.open(root / "sampleData" / "annotations" / f"{key}.png")))
    street = contents(tmp_path / "out")["ADE_val_00000003"][1]
    assert names[street[-20, 200] - 1] == "road, route"
    assert names[street[10, 150] - 1] == "sky"
