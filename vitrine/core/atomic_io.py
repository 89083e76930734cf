"""Atomic file and folder writes: a file or folder appears under its name once it is complete, or not at all."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside ``path`` to write to; it takes the name at the end, and goes after an error.

    The folder is made where it is not there; a file that stood under the name is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.partial-{_unique()}{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_vacant(out: Path) -> None:
    """Sees to it that nothing would be written over.

    Raises:
        FileExistsError: ``out`` is a file, or a folder with something in it.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise FileExistsError(f"{out} exists and is not an empty folder: remove it, or give another output folder.")


@contextmanager
def atomic_new_folder(out: Path) -> Iterator[Path]:
    """Gives a temporary sibling of ``out`` to write into, renamed to ``out`` at the end and removed on any error.

    Raises:
        FileExistsError: ``out`` holds something, at the start or at the end.
    """
    out = out.resolve()
    check_vacant(out)
    partial = out.with_name(f".{out.name}.partial-{_unique()}")
    try:
        partial.mkdir(parents=True)
        yield partial
        check_vacant(out)
        partial.replace(out)
    except BaseException:  # a Ctrl-C must leave as little behind as an error
        shutil.rmtree(partial, ignore_errors=True)
        raise


@contextmanager
def atomic_folder(folder: Path, marker: str) -> Iterator[Path]:
    """Gives a staging folder that becomes ``folder`` at the end, in place of an earlier one; removed on any error.

    The arguments and errors are those of `begin`.
    """
    staging = begin(folder, marker)
    try:
        yield staging
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    finish(folder)


def staging_of(folder: Path) -> Path:
    """The hidden sibling in which a folder is written before it takes its name."""
    return folder.with_name(f".{folder.name}.partial")


def begin(folder: Path, marker: str) -> Path:
    """Makes an empty staging folder for ``folder`` and returns it; what an interrupted run left there goes.

    Args:
        folder: The final place.
        marker: File that stands in every whole folder of this kind.

    Raises:
        FileExistsError: ``folder`` is there, not empty and without the marker: it then is not one of ours to replace.
    """
    if not (folder / marker).is_file():
        check_vacant(folder)
    staging = staging_of(folder)
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    return staging


def finish(folder: Path) -> None:
    """Gives the staging folder its final name, in place of an earlier folder as a whole."""
    old = folder.with_name(f".{folder.name}.replaced")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    staging_of(folder).rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _unique() -> str:
    return f"{os.getpid()}-{secrets.token_hex(4)}"
