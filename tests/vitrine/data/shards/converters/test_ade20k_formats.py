"""The two formats of ADE20K: splits and names, and what is told of broken input."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vitrine.data.shards.cli import main
from vitrine.data.shards.converter import write_set
from vitrine.data.shards.converters.ade20k import list_ade20k


@pytest.mark.parametrize(("split", "count"), [("training", 4), ("validation", 2), ("all", 6)])
def test_frames_belong_to_their_folders_split(full: Path, split: str, count: int) -> None:
    listed = list_ade20k(full.parent, split)
    assert len(listed.samples) == count
    assert len(listed.classes) == 4  # the same in every split


def test_without_split_folders_names_tell_the_split(challenge: Path) -> None:
    """As in the published sample."""
    for kind in ("images", "annotations"):
        for path in list((challenge / kind).rglob("ADE_*")):
            shutil.move(path, challenge / kind)
    shutil.move(challenge / "sceneCategories.txt", challenge.parent / "scenes.txt")
    listed = list_ade20k(challenge, "validation", scene_file=challenge.parent / "scenes.txt")
    assert [sample.key for sample in listed.samples] == ["ADE_val_00000001"]


def test_an_id_without_a_name_is_kept(full: Path) -> None:
    path = next(full.rglob("ADE_val_00000001.json"))
    path.write_text('{"annotation": {"object": []}}')
    names = list_ade20k(full, "validation", scenes=["bedroom"]).object_names
    assert names == []


def remove(name: str) -> Any:
    return lambda root: next(root.rglob(name)).unlink()


def write(name: str, text: str) -> Any:
    return lambda root: next(root.rglob(name)).write_text(text)


BROKEN: dict[str, tuple[str, Any, str]] = {
    "no map": ("full", remove("ADE_val_00000001_seg.png"), "ADE_val_00000001_seg.png does not exist, but its image"),
    "no json": ("full", remove("ADE_val_00000001.json"), "ADE_val_00000001.json does not exist, but its image"),
    "json": ("full", write("ADE_val_00000001.json", "{"), "ADE_val_00000001.json has no annotation of objects"),
    "entry": (
        "full",
        write("ADE_val_00000001.json", '{"annotation": {"object": [{"id": 3}]}}'),
        "KeyError('name_ndx')",
    ),
    "map": ("full", write("ADE_val_00000001_seg.png", "no"), "ADE_val_00000001_seg.png is no image"),
    "folder": ("full", lambda root: shutil.rmtree(root / "images"), "holds neither images/ADE (full format) nor"),
    "no scenes": ("challenge", remove("sceneCategories.txt"), "sceneCategories.txt does not exist: give a file"),
    "no names": ("challenge", remove("objectInfo150.txt"), "objectInfo150.txt does not exist: unpack"),
    "names": ("challenge", write("objectInfo150.txt", "Idx\nwall\n"), "objectInfo150.txt has the line 'wall'"),
    "row": (
        "challenge",
        write("sceneCategories.txt", "ADE_train_00000001 bedroom\n"),
        "no line for ADE_train_00000002",
    ),
    "scene": (
        "challenge",
        write("sceneCategories.txt", "ADE_train_00000001\n"),
        "'ADE_train_00000001' without a scene",
    ),
    "annotation": ("challenge", remove("ADE_val_00000001.png"), "ADE_val_00000001.png does not exist, but its image"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_input_is_one_sentence(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, damage, told = BROKEN[name]
    root = request.getfixturevalue(kind)
    damage(root)
    out = tmp_path / "out"
    assert main(["ade20k", "--root", str(root), "--split", "all", "--out", str(out), "--workers", "1"]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert re.search(r": (unpack|give|replace) ", error)
    assert not out.exists()


def test_a_grey_map_of_the_full_format_is_refused(full: Path, tmp_path: Path) -> None:
    path = next(full.rglob("ADE_val_00000001_seg.png"))
    Image.open(path).convert("L").save(path)
    with pytest.raises(ValueError, match=r"ADE_val_00000001_seg\.png has the mode L in place of RGB"):
        write_set(list_ade20k(full, "validation"), tmp_path / "out", shard_size=9, workers=1, seed=0)
