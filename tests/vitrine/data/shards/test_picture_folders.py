"""Walking picture folders: links, what is no picture, and names of every kind."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.time_limits import time_limit
from vitrine.data.shards.picture_folders import LeftOut, PictureFolder, holds_pictures, printable, scan, sub_folders


@pytest.fixture(autouse=True)
def limited() -> Iterator[None]:
    with time_limit():
        yield


def walk(base: Path, folder: Path | None = None, *, deep: bool = True) -> tuple[list[str], dict[str, int]]:
    left_out = LeftOut()
    found = [path.as_posix() for path, _ in PictureFolder(base, left_out).pictures(folder or base, deep=deep)]
    return found, dict(left_out.counts)


def touch(base: Path, *names: str) -> None:
    for name in names:
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_bytes(name.encode("utf-8", "surrogateescape"))


SUFFIXES = [".jpg", ".jpeg", ".JPG", ".JPEG", ".Jpg", ".png", ".gif", ".avif", ".jfif", ".tga", ".jp2", ".webp", ".bmp"]


def test_pictures_of_every_suffix_are_found(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{number:02d}{suffix}" for number, suffix in enumerate([*SUFFIXES, ".tif", ".TIFF", ".ppm"])))
    found, left_out = walk(tmp_path)
    assert len(found) == len(SUFFIXES) + 3
    assert left_out == {}


LEFT_OUT = {
    ".DS_Store": "hidden",
    "._a.jpg": "hidden",
    ".hidden/a.jpg": "hidden",
    "Thumbs.db": "of the system",
    "desktop.ini": "of the system",
    "__MACOSX/a.jpg": "of the system",
    "notes.txt": ".txt files",
    "a.jpg.part": ".part files",
    "a.heic": ".heic files",
    "README": "files without suffix",
    "a.jpg~": ".jpg~ files",
    "a.\n": ".%0A files",
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_left_out_is_counted(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "kept.jpg", name)
    found, left_out = walk(tmp_path)
    assert found == ["kept.jpg"]
    assert left_out == {LEFT_OUT[name]: 1}


def test_what_is_no_file_is_counted_and_never_opened(tmp_path: Path) -> None:
    touch(tmp_path, "kept.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to("pipe.jpg")
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    (tmp_path / "ping.jpg").symlink_to("pong.jpg")
    (tmp_path / "pong.jpg").symlink_to("ping.jpg")
    here = Path.cwd()
    os.chdir(tmp_path)  # the path of a socket has to be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.jpg")
        os.chdir(here)
        found, left_out = walk(tmp_path)
    assert found == ["kept.jpg"]
    assert left_out == {"broken links": 4, "pipes, sockets or devices": 4}


@pytest.mark.parametrize("target", [".", "..", "../..", "../cat", "../../pets", "/", "deep"])
def test_links_to_folders_never_walk_in_circles(tmp_path: Path, target: str) -> None:
    base = tmp_path / "pets"
    touch(base, "cat/a.jpg", "cat/deep/b.jpg", "dog/c.jpg")
    (base / "cat" / "loop").symlink_to(target)
    found, left_out = walk(base, base / "cat")
    assert found == ["cat/a.jpg", "cat/deep/b.jpg"]
    again = {"other names of a picture of the same class": 1}
    assert left_out == (again if target == "deep" else {"links back to a folder that they are in": 1})


def test_loops_of_two_folders_and_far_links(tmp_path: Path) -> None:
    touch(tmp_path, "far/d.jpg", "pets/cat/a.jpg")
    (tmp_path / "pets" / "cat" / "far").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "back").symlink_to(tmp_path / "pets" / "cat")
    found, left_out = walk(tmp_path / "pets", tmp_path / "pets" / "cat")
    assert found == ["cat/a.jpg", "cat/far/d.jpg"]
    assert left_out == {"links back to a folder that they are in": 1}


def test_other_names_of_a_picture_are_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "c.jpg").symlink_to("a.jpg")
    os.link(tmp_path / "b.jpg", tmp_path / "d.jpg")
    assert walk(tmp_path) == (["a.jpg", "b.jpg"], {"other names of a picture of the same class": 2})


def test_folders_within_are_left_out_where_that_is_wanted(tmp_path: Path) -> None:
    touch(tmp_path, "cat/a.jpg", "cat/deep/b.jpg")
    assert walk(tmp_path, tmp_path / "cat", deep=False) == (["cat/a.jpg"], {"folders": 1})


NAMES = [
    "spaces in  name .jpg", "tab\t.jpg", "line\nbreak.jpg", "quote'\".jpg", "CON.jpg", "aux.png", "a:b?.jpg", "żółw ß.jpg",
    "e\u0301.jpg", "\u00e9.jpg", "A.jpg", "a.JPG", "🐢.jpg", "\udcff\udce9.jpg",
    "x" * 250 + ".jpg", "%41.jpg", "a..jpg", "-a.jpg",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_names_of_every_kind_are_found_and_can_be_printed(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name)
    ((found,), left_out) = walk(tmp_path)
    assert (found, left_out) == (name, {})
    shown = printable(found)
    assert shown.isprintable()
    assert shown.encode("utf-8")


def test_escapes_tell_names_apart() -> None:
    assert len({printable(name) for name in NAMES}) == len(NAMES)
    assert printable("a\n\udcff\u200d") == "a%0A%FF%200D"


def test_folders_and_what_lies_beside_them(tmp_path: Path) -> None:
    touch(tmp_path, "cat/a.jpg", "dog/b.txt", ".git/c.jpg", "@eaDir/d.jpg", "e.jpg", "f.txt")
    (tmp_path / "loop").symlink_to(".")
    (tmp_path / "up").symlink_to("..")
    (tmp_path / "linked").symlink_to("cat")
    (tmp_path / "broken").symlink_to("nowhere")
    assert [folder.name for folder in sub_folders(tmp_path)] == ["cat", "dog", "linked"]
    assert [holds_pictures(folder) for folder in sub_folders(tmp_path)] == [True, False, True]
    left_out = LeftOut()
    PictureFolder(tmp_path, left_out).other_files(tmp_path)
    assert dict(left_out.counts) == {
        "hidden": 1,
        "of the system": 1,
        "pictures beside the class folders": 1,
        ".txt files": 1,
        "links back to a folder that they are in": 2,
        "broken links": 1,
    }
    (note,) = left_out.notes()
    assert "1 pictures beside the class folders (such as e.jpg)" in note


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(PermissionError, match=r"cat cannot be read \(Permission denied\): allow it"):
        scan(tmp_path / "cat")
