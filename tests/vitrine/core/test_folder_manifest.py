"""Whatever a person puts into a folder, or makes of it, is there after it was replaced, or it is not replaced."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitrine.core import folder_manifest
from vitrine.core.atomic_io import atomic_folder
from vitrine.core.folder_manifest import MANIFEST, FolderKind, check_replaceable, read_contents, remove_written

KIND = FolderKind("index.html", hand_written=("names.yaml",), earlier=("index.html", "images/*.webp"), signature="Ours")


def write(folder: Path, files: dict[str, str]) -> None:
    with atomic_folder(folder, KIND) as staging:
        put(staging, files)


def put(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def held(folder: Path) -> dict[str, str]:
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in paths}


def test_ours_are_replaced_and_others_are_carried_over(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    write(folder, {"index.html": "1", "images/1.webp": "1", "images/2.webp": "1"})
    put(folder, {"thesis.tex": "mine", "images/photo.png": "mine", "deep/er/notes.txt": "mine"})
    (folder / "link").symlink_to(tmp_path / "nowhere")
    (folder / "linked").symlink_to(tmp_path)
    (folder / "empty").mkdir()
    write(folder, {"index.html": "2", "images/1.webp": "2"})
    mine = {"thesis.tex": "mine", "images/photo.png": "mine", "deep/er/notes.txt": "mine"}
    shown = held(folder)
    assert {name: text for name, text in shown.items() if not name.startswith("linked")} == {
        "index.html": "2",
        "images/1.webp": "2",
        **mine,
    }
    assert (folder / "link").readlink() == tmp_path / "nowhere"
    assert (folder / "linked").is_symlink()
    assert (folder / "empty").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


@pytest.mark.parametrize("size", [1, 2 * folder_manifest._READ_BYTES])
def test_a_changed_file_of_ours_stops_it(tmp_path: Path, size: int) -> None:
    folder = tmp_path / "report"
    write(folder, {"index.html": "1" * size})
    check_replaceable(folder, KIND)
    (folder / "index.html").write_text("2" * size)
    os.utime(folder / "index.html", ns=(1, (folder / MANIFEST).stat().st_mtime_ns + 1))
    with pytest.raises(FileExistsError, match=r"report/index\.html was changed since"):
        check_replaceable(folder, KIND)
    with pytest.raises(FileExistsError, match=r"report/index\.html was changed since"):
        write(folder, {"index.html": "3"})
    assert held(folder) == {"index.html": "2" * size}
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_what_changes_while_the_folder_is_made_is_kept_beside(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    write(folder, {"index.html": "1", "images/1.webp": "1"})
    with atomic_folder(folder, KIND) as staging:
        put(staging, {"index.html": "2", "notes": "2", "images/1.webp/deep": "2"})
        put(folder, {"index.html": "mine", "notes/a.txt": "mine", "notes/b.txt": "mine", "images/1.webp": "mine"})
    assert held(folder) == {
        "index.html": "2",
        "index.html.old": "mine",
        "notes": "2",
        "notes.old/a.txt": "mine",
        "notes.old/b.txt": "mine",
        "images/1.webp/deep": "2",
        "images/1.webp.old": "mine",
    }


@pytest.mark.parametrize(
    "files",
    [
        {"index.html": "mine"},
        {"index.html": "mine", "thesis.tex": "mine"},
        {"index.html": "Ours", "thesis.tex": "mine"},
        {"thesis.tex": "mine"},
        {"index.html": "mine", MANIFEST: "{"},
        {"index.html": "mine", MANIFEST: '{"files": ["index.html"]}'},
        {"index.html": "mine", MANIFEST: "[" * 100_000},
    ],
)
def test_a_folder_that_lists_nothing_of_ours_is_not_replaced(tmp_path: Path, files: dict[str, str]) -> None:
    put(tmp_path / "report", files)
    for action in (check_replaceable, lambda folder, _: write(folder, {"index.html": "new"})):
        with pytest.raises(FileExistsError, match=f"report exists and is not an empty folder.*{MANIFEST}"):
            action(tmp_path / "report", KIND)
    remove_written(tmp_path / "report", KIND)
    assert held(tmp_path / "report") == {name: text for name, text in files.items() if name != MANIFEST}


def test_a_folder_of_an_earlier_release_is_replaced(tmp_path: Path) -> None:
    put(tmp_path, {"index.html": "Ours", "images/1.webp": "1", "names.yaml": "mine"})
    write(tmp_path, {"index.html": "new", "names.yaml": "the writer's own copy"})
    assert held(tmp_path) == {"index.html": "new", "names.yaml": "the writer's own copy"}


def test_hand_written_files_may_change(tmp_path: Path) -> None:
    write(tmp_path / "report", {"index.html": "1", "names.yaml": "1"})
    (tmp_path / "report" / "names.yaml").write_text("mine")
    check_replaceable(tmp_path / "report", KIND)


def test_a_copy_is_ours_as_well(tmp_path: Path) -> None:
    write(tmp_path / "report", {"index.html": "1" * 100_000})
    shutil.copytree(tmp_path / "report", tmp_path / "copy", copy_function=shutil.copyfile)
    check_replaceable(tmp_path / "copy", KIND)


def test_a_link_in_place_of_a_file_of_ours_is_a_change(tmp_path: Path) -> None:
    write(tmp_path / "report", {"index.html": "1"})
    (tmp_path / "report" / "index.html").rename(tmp_path / "moved")
    (tmp_path / "report" / "index.html").symlink_to(tmp_path / "moved")
    assert read_contents(tmp_path / "report", KIND).changed == [Path("index.html")]


def _linked(root: Path) -> Path:
    (root / "elsewhere").mkdir()
    (root / "report").symlink_to(root / "elsewhere")
    return root / "report"


def _dangling(root: Path) -> Path:
    (root / "report").symlink_to("deep/elsewhere")
    return root / "report"


def _below_a_link(root: Path) -> Path:
    (root / "runs").symlink_to(root / "disk" / "runs")
    return root / "runs" / "one" / "report"


def _chain(root: Path) -> Path:
    (root / "second").symlink_to("third")
    (root / "report").symlink_to("second")
    return root / "report"


@pytest.mark.parametrize("make", [_linked, _dangling, _below_a_link, _chain])
def test_links_are_written_through(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    folder = make(tmp_path)
    links = {path: path.readlink() for path in tmp_path.iterdir() if path.is_symlink()}
    for text in ("1", "2"):
        write(folder, {"index.html": text})
        assert held(folder) == {"index.html": text}
        assert {path: path.readlink() for path in tmp_path.iterdir() if path.is_symlink()} == links
    remove_written(folder, KIND)
    assert held(tmp_path) == {}
    assert all(path.is_symlink() for path in links)


def _link_to_file(root: Path) -> Path:
    (root / "file").write_text("mine")
    (root / "report").symlink_to("file")
    return root / "report"


def _loop(root: Path) -> Path:
    (root / "other").symlink_to("report")
    (root / "report").symlink_to("other")
    return root / "report"


def _below_a_file(root: Path) -> Path:
    (root / "file").write_text("mine")
    return root / "file" / "report"


def _below_a_loop(root: Path) -> Path:
    return _loop(root) / "report"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (_link_to_file, "exists and is not an empty folder"),
        (_loop, "leads to itself"),
        (_below_a_file, "is no folder"),
        (_below_a_loop, "is no folder"),
        (lambda _: Path("/proc"), "mount point"),
        (lambda _: Path("/proc/1/report"), "read-only|is no folder"),
    ],
)
def test_places_that_cannot_be_replaced(tmp_path: Path, make: Callable[[Path], Path], told: str) -> None:
    folder = make(tmp_path)
    before = sorted(tmp_path.iterdir())
    for action in (check_replaceable, lambda folder, _: write(folder, {"index.html": "1"})):
        with pytest.raises((FileExistsError, NotADirectoryError), match=told):
            action(folder, KIND)
    assert sorted(tmp_path.iterdir()) == before


NAMES = st.sampled_from(["index.html", "a", "a/b", "a.old", "b/c", "b"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), NAMES), max_size=8))
def test_nothing_of_a_person_is_ever_lost(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[bool, str]]
) -> None:
    """Runs and people write in any order: each text of a person is somewhere in the folder in the end."""
    folder = tmp_path_factory.mktemp("people") / "report"
    mine: dict[str, str] = {}
    for number, (is_person, name) in enumerate(steps):
        place, text = folder / name, f"{'mine' if is_person else 'ours'} {number}"
        if is_person and folder.exists() and not place.is_dir() and all(not p.is_file() for p in place.parents):
            mine = {key: value for key, value in mine.items() if not (place.is_file() and place.read_text() == value)}
            put(folder, {name: text})
            mine[text] = text
        elif not is_person:
            try:
                write(folder, {"index.html": text, name: text})
            except FileExistsError:
                continue
    assert set(mine) <= set(held(folder).values() if folder.exists() else ())
