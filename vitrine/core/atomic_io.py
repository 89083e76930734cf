"""Atomic file and folder writes: a file or folder appears under its name once it is complete, or not at all."""

import glob
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vitrine.core.locks import is_running


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` to write to, renamed to ``path`` at the end and removed on any error.

    Missing parent folders are made; an earlier file of that name is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _beside(path, "partial", path.suffix)
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


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
    out = out.resolve()
    check_vacant(out)
    _remove_leftovers(out)
    partial = _beside(out, "partial")
    try:
        partial.mkdir(parents=True)
        yield partial
        check_vacant(out)
        partial.replace(out)
    except BaseException:  # Ctrl-C has to clean up as well
        shutil.rmtree(partial, ignore_errors=True)
        raise


@contextmanager
def atomic_folder(folder: Path, marker: str) -> Iterator[Path]:
    """Yields a staging folder that replaces ``folder`` at the end, as a whole, and is removed on any error.

    The arguments and errors are those of `start_atomic_folder`.
    """
    staging = start_atomic_folder(folder, marker)
    try:
        yield staging
        finish_atomic_folder(staging, folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def start_atomic_folder(folder: Path, marker: str) -> Path:
    """Makes an empty staging folder beside ``folder``, of this process alone, and returns it.

    What processes of this machine that are no more have left of the same kind is removed.

    Args:
        folder: the final path.
        marker: name of a file that every complete folder of this kind holds.

    Raises:
        FileExistsError: ``folder`` is not empty and has no marker, so it was not written by this function's caller.
    """
    if not (folder / marker).is_file():
        check_vacant(folder)
    _remove_leftovers(folder)
    staging = _beside(folder, "partial")
    staging.mkdir(parents=True)
    return staging


def finish_atomic_folder(staging: Path, folder: Path) -> None:
    """Renames a staging folder to ``folder``, in place of an earlier one."""
    old = _beside(folder, "replaced")
    with suppress(FileNotFoundError):
        folder.rename(old)
    staging.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _beside(path: Path, kind: str, suffix: str = "") -> Path:
    """A hidden name beside a path, which tells whose process it is of."""
    stem = path.name.removesuffix(suffix)
    return path.with_name(f".{stem}.{kind}-{_host()}-{os.getpid()}-{secrets.token_hex(4)}{suffix}")


def _remove_leftovers(folder: Path) -> None:
    for path in folder.parent.glob(f".{glob.escape(folder.name)}.*-{_host()}-*"):
        told = re.fullmatch(r"\.(?:partial|replaced)-.*-(\d+)-[0-9a-f]{8}", path.name[len(folder.name) + 1 :])
        if told is not None and not is_running(int(told[1])):
            shutil.rmtree(path, ignore_errors=True)


def _host() -> str:
    return re.sub(r"[^\w.]", "_", socket.gethostname())
