"""Classes in a Python file of one's own, named as ``model.py:MyNet``: the file's module, imported once."""

import hashlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

DOTTED = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
"""A regular expression for names with dots between them."""
_NAME = re.compile(rf"(?P<file>.*[^/\\]\.py)(?::(?P<name>{DOTTED}))?", re.DOTALL)


def file_of(name: str) -> Path | None:
    """The file, by its absolute path, of a class such as ``model.py:MyNet``; None for ``package.module:Class``.

    Args:
        name: of a class, or of the file alone; relative to the current folder.

    Example:
        >>> file_of("nets/model.py:MyNet") == Path("nets/model.py").resolve(), file_of("nets.model:MyNet")
        (True, None)
    """
    found = _NAME.fullmatch(name)
    return None if found is None else Path(found["file"]).expanduser().resolve()


def class_in_file(name: str) -> str:
    """The part of a name behind its file; empty for the file alone.

    Example:
        >>> class_in_file("nets/model.py:MyNet"), class_in_file("nets/model.py")
        ('MyNet', '')
    """
    found = _NAME.fullmatch(name)
    return (found["name"] or "") if found else ""


def absolute_name(name: str) -> str:
    """The same name in any folder: of a class in a file, with the absolute path."""
    file = file_of(name)
    return name if file is None else f"{file}:{class_in_file(name)}"


def module_of_file(file: Path) -> ModuleType:
    """Imports a file once; what stands beside it can be imported by it.

    Args:
        file: by its absolute path.

    Raises:
        FileNotFoundError: where it does not exist, with the current folder.
    """
    if not file.is_file():
        raise FileNotFoundError(
            f"There is no file {file}; give the path of a Python file from the current folder, {Path.cwd()}, or an absolute"
            " one: model.py:MyNet."
        )
    name = _module_name(file)
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        with folder_searched(file.parent):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _module_name(file: Path) -> str:
    """The file's own name, where no other module has it: the digest of a network holds names of modules."""
    known = sys.modules.get(file.stem)
    if known is None:
        with folder_searched(file.parent):
            spec = importlib.util.find_spec(file.stem) if file.stem.isidentifier() else None
        place = spec.origin if spec else None
    else:
        place = getattr(known, "__file__", None)
    if file.stem.isidentifier() and place is not None and Path(place).resolve() == file:
        return file.stem
    stem = re.sub(r"\W", "_", file.stem)
    return f"{stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"


@contextmanager
def folder_searched(path: Path) -> Iterator[None]:
    """Lets modules be found in a folder too, after all other places."""
    folder = str(path)
    if folder in sys.path or ("" in sys.path and path == Path.cwd()):
        yield
        return
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
