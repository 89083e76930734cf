"""Nothing half-written is ever seen under its final name."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from vitrine.core.atomic_io import (
    atomic_file,
    atomic_folder,
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
    folder.mkdir()
    (folder / "index.html").write_text("old")
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
    finish_atomic_folder(own, folder)
    assert (folder / "index.html").read_text() == "own"
    finish_atomic_folder(other, folder)
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
