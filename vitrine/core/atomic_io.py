"""Atomic file and folder writes: a file or folder appears under its name once it is complete, or not at all."""

import glob
import os
import re
import secrets
import shutil
import socket
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vitrine.core.folder_manifest import FolderKind, carry_over, check_replaceable, write_manifest
from vitrine.core.locks import is_running


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` to write to, renamed to ``path`` at the end and removed on any error.

    Missing parent folders are made; an earlier file of that name is replaced. A link is followed: what it leads to is
    replaced. The file has the mode that the umask gives, whoever wrote it.

    Raises:
        FileExistsError: where a folder has that name.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _beside(path, "partial", path.suffix)
    try:
        yield partial
        if path.is_dir():
            raise FileExistsError(f"{path} is a folder where a file is to be written: move or remove it.")
        give_default_mode(partial.parent, [partial])
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def give_default_mode(folder: Path, files: Iterable[Path]) -> None:
    """Gives files the mode that a new file has in a folder: some writers, such as safetensors', let their user alone read.

    The umask itself cannot be read without changing it for all threads.
    """
    probe = _beside(folder / "mode", "probe")
    with probe.open("xb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    probe.unlink()
    for path in files:
        if stat.S_IMODE(path.stat().st_mode) != mode:
            path.chmod(mode)


def check_vacant(out: Path) -> None:
    """Checks that writing to ``out`` would overwrite nothing.

    Raises:
        FileExistsError: ``out`` is a file, or a folder that is not empty.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise FileExistsError(f"{out} exists and is not an empty folder: remove it, or give another output folder.")


@contextmanager
def atomic_new_folder(out: Path) -> Iterator[Path]:
    """Yields a temporary sibling of ``out`` to write into, renamed to ``out`` at the end and removed on any error.

    Raises:
        FileExistsError: ``out`` is not empty, at the start or at the end.
    """
    out = Path(os.path.realpath(out))
    check_vacant(out)
    _remove_leftovers(out)
    partial = _beside(out, "partial")
    try:
        partial.mkdir(parents=True)
        yield partial
        check_vacant(out)
        give_default_mode(partial, _written_files(partial))
        partial.replace(out)
    except BaseException:  # Ctrl-C has to clean up as well
        shutil.rmtree(partial, ignore_errors=True)
        raise


@contextmanager
def atomic_folder(folder: Path, marker: str | FolderKind) -> Iterator[Path]:
    """Yields a staging folder that replaces ``folder`` at the end, as a whole, and is removed on any error.

    The arguments and errors are those of `start_atomic_folder`.
    """
    staging = start_atomic_folder(folder, marker)
    try:
        yield staging
        finish_atomic_folder(staging, folder, marker)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def start_atomic_folder(folder: Path, marker: str | FolderKind) -> Path:
    """Makes an empty staging folder beside ``folder``, of this process alone, and returns it.

    What processes of this machine that are no more have left of the same kind is removed.

    Args:
        folder: the final path; a link is followed, and what it leads to is replaced.
        marker: name of a file that every complete folder of this kind holds, or the kind itself.

    Raises:
        FileExistsError: ``folder`` holds what would be lost, see `check_replaceable`.
        NotADirectoryError: there is a file in place of a folder above it.
    """
    place, kind = Path(os.path.realpath(folder)), _kind(marker)
    _remove_leftovers(place, kind)
    check_replaceable(folder, kind)
    staging = _beside(place, "partial")
    staging.mkdir(parents=True)
    return staging


def finish_atomic_folder(staging: Path, folder: Path, marker: str | FolderKind) -> None:
    """Renames a staging folder to ``folder``, in place of an earlier one.

    Files of others in the earlier one are carried over; so are files that were changed while the staging folder was filled,
    with ``.old`` behind their names.
    """
    place, kind = Path(os.path.realpath(folder)), _kind(marker)
    give_default_mode(staging, _written_files(staging))
    write_manifest(staging, kind)
    old = _beside(place, "replaced")
    with suppress(FileNotFoundError):
        place.rename(old)
    try:
        staging.rename(place)
    except BaseException:
        if old.exists() and not os.path.lexists(place):
            old.rename(place)
        raise
    if old.is_dir():
        _discard(old, place, kind)


def _kind(marker: str | FolderKind) -> FolderKind:
    return marker if isinstance(marker, FolderKind) else FolderKind(marker)


def _discard(old: Path, place: Path, kind: FolderKind) -> None:
    """Removes a folder that was replaced, once nothing of others is in it."""
    carry_over(old, place, kind)
    shutil.rmtree(old, ignore_errors=True)


def _written_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def _beside(path: Path, kind: str, suffix: str = "") -> Path:
    """A hidden name beside a path, which tells whose process it is of."""
    stem = path.name.removesuffix(suffix)
    return path.with_name(f".{stem}.{kind}-{_host()}-{os.getpid()}-{secrets.token_hex(4)}{suffix}")


def _remove_leftovers(folder: Path, kind: FolderKind | None = None) -> None:
    for path in sorted(folder.parent.glob(f".{glob.escape(folder.name)}.*-{_host()}-*"), reverse=True):
        told = re.fullmatch(r"\.(partial|replaced)-.*-(\d+)-[0-9a-f]{8}", path.name[len(folder.name) + 1 :])
        if told is None or is_running(int(told[2])):
            continue
        if told[1] == "partial" or kind is None:
            shutil.rmtree(path, ignore_errors=True)
        elif folder.exists():
            _discard(path, folder, kind)
        else:  # its process died between two renames
            path.rename(folder)


def _host() -> str:
    return re.sub(r"[^\w.]", "_", socket.gethostname())
