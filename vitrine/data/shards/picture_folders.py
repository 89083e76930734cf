"""Picture folders: the picture files below a folder, links followed safely, and what was left out."""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from vitrine.data.shards.images import PICTURE_SUFFIXES

SYSTEM_NAMES = frozenset(
    {"__macosx", "@eadir", "lost+found", "$recycle.bin", "system volume information", "thumbs.db", "desktop.ini"}
)
"""Files and folders that systems put beside people's files, in small letters."""

_BACK = "links back to a folder that they are in"
FileId = tuple[int, int]
"""Device and number of a file, which all of its names share."""


@dataclass
class LeftOut:
    """Counts of what was left out of a folder, by kind, each with an example."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, path: str) -> None:
        """Counts a file or folder."""
        self.counts[kind] += 1
        self.examples.setdefault(kind, path)

    def notes(self) -> list[str]:
        """One sentence for the user; none where nothing was left out.

        Example:
            >>> left_out = LeftOut()
            >>> left_out.add("hidden", "dog/.DS_Store")
            >>> left_out.notes()
            ['Left out: 1 hidden (such as dog/.DS_Store).']
        """
        kinds = [f"{count} {kind} (such as {printable(self.examples[kind])})" for kind, count in self.counts.items()]
        return [f"Left out: {', '.join(kinds)}."] if kinds else []


def printable(name: str) -> str:
    r"""A file's name with escapes for bytes that are no UTF-8 and for control characters.

    Example:
        >>> printable("a\nb")
        'a%0Ab'
    """
    if name.isprintable():
        return name
    data = ("".join(one if one.isprintable() else f"%{_byte(one)}" for one in name)).encode("utf-8", "replace")
    return data.decode()


def _byte(character: str) -> str:
    code = ord(character)
    return f"{code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else code:02X}"


class PictureFolder:
    """Walks a folder of pictures.

    Links to files and folders are followed, other than those to a folder that is being walked, which would never end. What is
    no picture is counted; a picture that has several names below the folder counts once.

    Args:
        base: that paths are told relative to; not entered again by links.
        left_out: takes what is left out.
    """

    def __init__(self, base: Path, left_out: LeftOut) -> None:
        self.base, self.left_out = base, left_out
        self._outer = _with_parents(base)

    def pictures(self, folder: Path, *, deep: bool = True) -> Iterator[tuple[Path, FileId]]:
        """The pictures below a folder in the order of their names, as paths relative to the base, and their files.

        Args:
            folder: to walk, in or below the base.
            deep: whether folders within it are entered; else they are left out.

        Raises:
            OSError: where a folder cannot be read.
        """
        seen: set[FileId] = set()
        start = "" if folder == self.base else f"{folder.relative_to(self.base).as_posix()}/"
        for path, file in self._walk(folder, start, self._outer | {_id(folder)}, deep):
            if file in seen:
                self.left_out.add("other names of a picture of the same class", path)
            else:
                seen.add(file)
                yield Path(path), file

    def _walk(self, folder: Path, start: str, outer: set[FileId], deep: bool) -> Iterator[tuple[str, FileId]]:
        device = folder.stat().st_dev
        for entry in scan(folder):
            relative = f"{start}{entry.name}"
            kind, file = _kind(entry, device)
            if kind == "folder" and not deep:
                self.left_out.add("folders", relative)
            elif kind == "folder" and file in outer:
                self.left_out.add(_BACK, relative)
            elif kind == "folder":
                yield from self._walk(Path(entry.path), f"{relative}/", outer | {file}, deep)
            elif kind == "picture":
                yield relative, file
            else:
                self.left_out.add(kind, relative)

    def other_files(self, folder: Path) -> None:
        """Counts what lies in a folder that should hold folders alone: pictures of no class, and all that is no picture."""
        device = folder.stat().st_dev
        for entry in scan(folder):
            kind, file = _kind(entry, device)
            if kind != "folder":
                self.left_out.add("pictures beside the class folders" if kind == "picture" else kind, entry.name)
            elif file in self._outer:
                self.left_out.add(_BACK, entry.name)


def scan(folder: Path) -> list["os.DirEntry[str]"]:
    """The entries of a folder, sorted by name.

    Raises:
        OSError: where it cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise type(error)(f"{folder} cannot be read ({error.strerror}): allow it, or leave the folder out.") from None


def sub_folders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted by name, without hidden ones, those of the system, and links back to where it is."""
    device, outer = folder.stat().st_dev, _with_parents(folder)
    kinds = [(Path(entry.path), *_kind(entry, device)) for entry in scan(folder)]
    return [path for path, kind, file in kinds if kind == "folder" and file not in outer]


def holds_pictures(folder: Path) -> bool:
    """Whether a picture lies in a folder itself."""
    device = folder.stat().st_dev
    return any(_kind(entry, device)[0] == "picture" for entry in scan(folder))


def _kind(entry: "os.DirEntry[str]", device: int) -> tuple[str, FileId]:
    """``folder``, ``picture``, or what messages call it; and the file behind its links."""
    if entry.name.startswith("."):
        return "hidden", (0, 0)
    if entry.name.lower() in SYSTEM_NAMES:
        return "of the system", (0, 0)
    if entry.is_symlink():
        try:
            status = Path(entry.path).stat()
        except OSError:
            return "broken links", (0, 0)
        file, mode = (status.st_dev, status.st_ino), status.st_mode
        is_folder, is_file = stat.S_ISDIR(mode), stat.S_ISREG(mode)
    else:
        file = (device, entry.inode())
        is_folder, is_file = entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False)
    if is_folder:
        return "folder", _id(Path(entry.path))
    return _file_kind(entry.name) if is_file else "pipes, sockets or devices", file


def _file_kind(name: str) -> str:
    suffix = PurePath(name).suffix.lower()
    if suffix in PICTURE_SUFFIXES:
        return "picture"
    return f"{printable(suffix)} files" if suffix else "files without suffix"


def _with_parents(folder: Path) -> set[FileId]:
    """A folder and all those that it is in."""
    real = folder.resolve()
    return {_id(path) for path in (real, *real.parents)}


def _id(path: Path) -> FileId:
    status = path.stat()
    return status.st_dev, status.st_ino
