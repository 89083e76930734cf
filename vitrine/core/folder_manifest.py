"""Manifest of a folder that is written as a whole: which of its files are those that were written, unchanged.

A folder is replaced by later runs, and people put files of their own into it. The manifest lists what was written, so that
all else is found and kept.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

MANIFEST = ".vitrine-files.json"
"""Name of the manifest in the folder: size and SHA-256 of each file, by its path in the folder."""
_READ_BYTES = 1 << 16
"""A larger file of the same size that is older than the manifest passes for unchanged without being read."""


@dataclass(frozen=True)
class FolderKind:
    """A kind of folder that is replaced as a whole.

    Args:
        marker: name of a file that every complete folder of this kind holds.
        hand_written: patterns of files that people write and that the writer carries over by itself.
        earlier: patterns of the files that earlier releases wrote, without a manifest.
        signature: a text in the markers of earlier releases; a folder of such a marker and such files alone is one of
            theirs.
    """

    marker: str
    hand_written: tuple[str, ...] = ()
    earlier: tuple[str, ...] = ()
    signature: str = ""

    def was_written_earlier(self, folder: Path, paths: Sequence[Path]) -> bool:
        """Whether an earlier release wrote a folder, and nobody has put a file into it since."""
        try:
            text = (folder / self.marker).read_text(encoding="utf-8")
        except (OSError, ValueError):
            return False
        return bool(self.signature) and self.signature in text and all(_matches(path, self.earlier) for path in paths)


@dataclass(frozen=True)
class FolderContents:
    """What a folder holds, as paths in it: links are not followed, and folders are not listed.

    Args:
        own: files that were written with the folder, unchanged.
        changed: files that were written with it and changed since.
        foreign: all else.
        has_manifest: whether the folder says what was written with it.
    """

    own: list[Path]
    changed: list[Path]
    foreign: list[Path]
    has_manifest: bool

    @property
    def kept(self) -> list[Path]:
        """What must not be lost."""
        return [*self.changed, *self.foreign]


def write_manifest(folder: Path, kind: FolderKind) -> None:
    """Lists the files of a folder, but for those that people write."""
    entries = {path.as_posix(): _entry(folder / path) for path in _files(folder) if not _is_hand_written(path, kind)}
    (folder / MANIFEST).write_text(json.dumps({"files": entries}, indent=1) + "\n", encoding="utf-8")


def read_contents(folder: Path, kind: FolderKind) -> FolderContents:
    """Compares a folder with its manifest; files that people write are left out."""
    paths = [path for path in _files(folder) if not _is_hand_written(path, kind)]
    listed = _listed(folder)
    if listed is None:
        is_ours = kind.was_written_earlier(folder, paths)
        return FolderContents(paths if is_ours else [], [], [] if is_ours else paths, has_manifest=False)
    contents = FolderContents([], [], [], has_manifest=True)
    written = (folder / MANIFEST).stat().st_mtime_ns
    for path in paths:
        entry = listed.get(path.as_posix())
        if entry is None:
            contents.foreign.append(path)
        else:
            (contents.own if _is_unchanged(folder / path, entry, written) else contents.changed).append(path)
    return contents


def check_replaceable(folder: Path, kind: FolderKind) -> None:
    """Checks, before the work that is to fill it, that a folder can be replaced without losing a person's files.

    Files that are not of the folder's manifest do not stand in the way: they are carried over.

    Raises:
        FileExistsError: for a file, a folder that is not of this kind, one in which a file was changed since it was written,
            and one that cannot be renamed.
        NotADirectoryError: where there is a file in place of a folder above it.
    """
    place = Path(os.path.realpath(folder))
    check_can_hold(place.parent, folder)
    if place.is_symlink():
        raise FileExistsError(f"{folder} is a link that leads to itself: remove it, or give another output folder.")
    if not place.exists():
        return
    if os.path.ismount(place):
        raise FileExistsError(f"{folder} is a mount point, which cannot be replaced: give a folder within it.")
    contents = read_contents(place, kind) if place.is_dir() else None
    if contents is None or (contents.foreign and not contents.has_manifest):
        raise FileExistsError(
            f"{folder} exists and is not an empty folder, nor does it list what Vitrine wrote into it ({MANIFEST}):"
            " move or remove it, or give another output folder."
        )
    if contents.changed:
        raise FileExistsError(
            f"{folder / contents.changed[0]} was changed since Vitrine wrote it and would be replaced: move or remove it, or"
            " give another output folder."
        )


def check_can_hold(parent: Path, wanted: Path) -> None:
    """Checks that something new can be made in a folder, which may have to be made first.

    Raises:
        NotADirectoryError: where a part of the path is a file.
        FileExistsError: where nothing can be made there.
    """
    existing = next(path for path in (parent, *parent.parents) if os.path.lexists(path))
    if not existing.is_dir():
        raise NotADirectoryError(f"{wanted} cannot be made, since {existing} is no folder: give another output folder.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise FileExistsError(f"{wanted} cannot be made, since {existing} is read-only: give another output folder.")


def carry_over(old: Path, new: Path, kind: FolderKind) -> None:
    """Moves what must not be lost from a folder to the one that replaced it.

    A file whose name is taken there gets ``.old`` behind it, or ``.old2`` and so on.
    """
    for path in read_contents(old, kind).kept:
        place = new
        for part in path.parts[:-1]:
            place = _free(place / part, or_folder=True)
        place.mkdir(parents=True, exist_ok=True)
        (old / path).rename(_free(place / path.name))
    for path in _empty_folders(old):
        with suppress(OSError):  # there is a file of that name
            (new / path).mkdir(parents=True, exist_ok=True)


def remove_written(folder: Path, kind: FolderKind) -> None:
    """Removes what was written into a folder, and the folder where nothing else is in it."""
    if not folder.is_dir():
        return
    contents = read_contents(folder, kind)
    if not contents.own:
        return
    for path in contents.own:
        (folder / path).unlink(missing_ok=True)
    if not contents.kept:  # else it goes on saying that the folder is of this kind
        (folder / MANIFEST).unlink(missing_ok=True)
    for place, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):  # it holds something else, or is a link
            Path(place).rmdir()


def _entry(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"size": path.stat().st_size, "sha256": digest}


def _is_unchanged(path: Path, entry: Mapping[str, Any], written: int) -> bool:
    status = path.lstat()
    if path.is_symlink() or not path.is_file() or status.st_size != entry.get("size"):
        return False
    if status.st_size > _READ_BYTES and status.st_mtime_ns <= written:
        return True
    return _entry(path) == entry


def _listed(folder: Path) -> Mapping[str, Mapping[str, Any]] | None:
    """Entries of the manifest; None where there is none that can be read."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    is_mapping = isinstance(files, dict) and all(isinstance(entry, dict) for entry in files.values())
    return files if is_mapping else None


def _files(folder: Path) -> list[Path]:
    """All but folders, and but the manifest; a link is listed and not followed."""
    found = []
    for root, folders, files in os.walk(folder):
        links = [name for name in folders if Path(root, name).is_symlink()]
        found += [Path(root, name).relative_to(folder) for name in (*files, *links)]
    return sorted(path for path in found if path != Path(MANIFEST))


def _empty_folders(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        if not folders and not files and Path(root) != folder:
            yield Path(root).relative_to(folder)


def _is_hand_written(path: Path, kind: FolderKind) -> bool:
    return _matches(path, kind.hand_written)


def _matches(path: Path, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path.as_posix(), pattern) for pattern in patterns)


def _free(path: Path, *, or_folder: bool = False) -> Path:
    """The path, or one like it, where there is nothing yet (or a folder)."""
    candidate, number = path, 1
    while os.path.lexists(candidate) and not (or_folder and candidate.is_dir() and not candidate.is_symlink()):
        ending = ".old" if number == 1 else f".old{number}"
        candidate, number = path.with_name(path.name + ending), number + 1
    return candidate
