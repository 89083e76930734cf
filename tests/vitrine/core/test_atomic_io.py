"""Nothing half-written is ever seen under its final name."""

import os
import re
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vitrine.core.atomic_io import (
    atomic_file,
    atomic_folder,
    atomic_new_folder,
    finish_atomic_folder,
    start_atomic_folder,
)


def test_the_folder_appears_at_the_end_only(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "report"
    with atomic_folder(folder, "index.html") as staging:
        (staging / "index.html").write_text("new")
        assert not folder.exists()
    assert [path.name for path in folder.parent.iterdir()] == ["report"]
    assert (folder / "index.html").read_text() == "new"


def test_an_exception_leaves_the_earlier_folder(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    with atomic_folder(folder, "index.html") as staging:
        (staging / "index.html").write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_folder(folder, "index.html"):
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    assert (folder / "index.html").read_text() == "old"


def test_what_a_dead_process_left_is_cleared_and_what_others_write_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    script = f"from vitrine.core.atomic_io import *; start_atomic_folder(Path({str(folder)!r}), 'index.html')"
    subprocess.run([sys.executable, "-c", script], check=True)
    (left,) = tmp_path.iterdir()
    elsewhere = left.with_name(left.name.replace(re.sub(r"[^\w.]", "_", socket.gethostname()), "elsewhere"))
    elsewhere.mkdir()
    other = start_atomic_folder(folder, "index.html")
    (other / "index.html").write_text("other")
    own = start_atomic_folder(folder, "index.html")
    (own / "index.html").write_text("own")
    assert not left.exists()
    finish_atomic_folder(own, folder, "index.html")
    assert (folder / "index.html").read_text() == "own"
    finish_atomic_folder(other, folder, "index.html")
    assert (folder / "index.html").read_text() == "other"
    assert set(tmp_path.iterdir()) == {folder, elsewhere}


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    with atomic_folder(tmp_path, "index.html") as staging:
        (staging / "index.html").write_text("new")
    assert (tmp_path / "index.html").exists()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_not_ours_is_not_replaced(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "home"
    if kind == "folder":
        place.mkdir()
        (place / "thesis.txt").write_text("mine")
    else:
        place.write_text("mine")
    with (
        pytest.raises(FileExistsError, match="home exists and is not an empty folder"),
        atomic_folder(place, "index.html"),
    ):
        pass
    assert (place if kind == "file" else place / "thesis.txt").read_text() == "mine"
    assert list(tmp_path.iterdir()) == [place]


def test_a_file_appears_at_the_end_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "table.csv"
    with atomic_file(path) as partial:
        partial.write_text("new")
        assert partial.suffix == ".csv"
        assert not path.exists()
    assert [file.name for file in path.parent.iterdir()] == ["table.csv"]
    assert path.read_text() == "new"


def test_an_exception_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")

    def interrupted() -> None:
        with atomic_file(path) as partial:
            partial.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o002])
def test_files_and_folders_have_the_mode_of_the_umask(tmp_path: Path, umask: int) -> None:
    """`save_file` of safetensors, like whatever uses `mkstemp`, lets its user alone read."""
    earlier = os.umask(umask)
    try:
        with atomic_file(tmp_path / "deep" / "a.safetensors") as partial:
            save_file({"a": torch.zeros(1)}, partial)
        with atomic_folder(tmp_path / "folder", "index.html") as staging:
            (staging / "images").mkdir()
            save_file({"a": torch.zeros(1)}, staging / "images" / "a.safetensors")
        with atomic_new_folder(tmp_path / "new") as staging:
            os.close(tempfile.mkstemp(dir=staging)[0])
    finally:
        os.umask(earlier)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert len(modes) == 8
    assert modes == {path: (0o777 if path.is_dir() else 0o666) & ~umask for path in modes}


def test_a_linked_file_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").symlink_to("disk/deep/metrics.json")
    for text in ("1", "2"):
        with atomic_file(tmp_path / "metrics.json") as partial:
            partial.write_text(text)
    assert (tmp_path / "metrics.json").is_symlink()
    assert (tmp_path / "disk" / "deep" / "metrics.json").read_text() == "2"
    assert [path.name for path in (tmp_path / "disk" / "deep").iterdir()] == ["metrics.json"]


def test_a_folder_in_place_of_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "table.csv" / "mine").mkdir(parents=True)
    with (
        pytest.raises(FileExistsError, match=r"table\.csv is a folder"),
        atomic_file(tmp_path / "table.csv") as partial,
    ):
        partial.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_process_that_is_killed_while_it_replaces_loses_nothing(tmp_path: Path, is_replaced: bool) -> None:
    """The next writer finds the earlier folder aside, whether or not the new one has taken its place."""
    folder = tmp_path / "report"
    script = f"""
import os
from pathlib import Path
from vitrine.core.atomic_io import *
folder = Path({str(folder)!r})
with atomic_folder(folder, "index.html") as staging:
    (staging / "index.html").write_text("1")
(folder / "thesis.tex").write_text("mine")
staging = start_atomic_folder(folder, "index.html")
(staging / "index.html").write_text("2")
renamed = Path.rename
def rename(path, target):
    if path == staging and not {is_replaced}:
        os._exit(0)
    renamed(path, target)
    if path == staging:
        os._exit(0)
Path.rename = rename
finish_atomic_folder(staging, folder, "index.html")
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    assert folder.exists() is is_replaced
    with atomic_folder(folder, "index.html") as staging:
        (staging / "index.html").write_text("3")
    assert (folder / "thesis.tex").read_text() == "mine"
    assert (folder / "index.html").read_text() == "3"
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
