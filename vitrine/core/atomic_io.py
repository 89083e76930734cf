"""Atomic file and folder writes: a file or folder appears under its name once it is complete, or not at all."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` to write to, renamed to ``path`` at the end and removed on any error.

    Missing parent folders are made; an earlier file of that name is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.partial-{_unique()}{path.suffix}")
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
    partial = out.with_name(f".{out.name}.partial-{_unique()}")
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
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    finish_atomic_folder(folder)


def staging_folder(folder: Path) -> Path:
    """The hidden sibling in which ``folder`` is written before it is renamed."""
    return folder.with_name(f".{folder.name}.partial")


def start_atomic_folder(folder: Path, marker: str) -> Path:
    """Makes an empty staging folder for ``folder`` and returns it; leftovers of an interrupted run are removed.

    Args:
        folder: the final path.
        marker: name of a file that every complete folder of this kind holds.

    Raises:
        FileExistsError: ``folder`` is not empty and has no marker, so it was not written by this function's caller.
    """
    if not (folder / marker).is_file():
        check_vacant(folder)
    staging = staging_folder(folder)
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    return staging


def finish_atomic_folder(folder: Path) -> None:
    """Renames the staging folder to ``folder``, in place of an earlier one."""
    old = folder.with_name(f".{folder.name}.replaced")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    staging_folder(folder).rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _unique() -> str:
    return f"{os.getpid()}-{secrets.token_hex(4)}"
