"""Classes named as ``module:Class``: whether a caller allows one to be imported, and the class itself."""

import importlib
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

_DOTTED = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_PATH = re.compile(f"{_DOTTED}:{_DOTTED}")
_ALLOWED = re.compile(rf"{_DOTTED}(?:\.|:|:{_DOTTED})?")


def allowed_entries(allow: str | Iterable[str]) -> tuple[str, ...]:
    """What a caller allows, checked; one text stands for a list of it alone.

    Raises:
        ValueError: for an entry that is neither a package, a module nor a class, such as ``""``, which would allow all.
    """
    entries = (allow,) if isinstance(allow, str) else tuple(allow)
    for entry in entries:
        if not isinstance(entry, str) or not _ALLOWED.fullmatch(entry):
            raise ValueError(
                f"allow holds {entry!r}; give 'my_package.' for all of a package, 'my_package.networks' for one module, or"
                " 'my_package.networks:MyNet' for one class."
            )
    return entries


def is_allowed(path: str, allow: Sequence[str]) -> bool:
    """Whether a class is allowed, by its name alone.

    Args:
        path: ``module:Class``.
        allow: ``package.`` for the package and all in it, ``module`` or ``module:`` for the classes of this module alone, or
            ``module:Class``.

    Example:
        >>> [is_allowed("studio.nets:Net", [entry]) for entry in ("studio.", "studio.nets", "studio.nets:Net")]
        [True, True, True]
        >>> [is_allowed("studio.nets:Net", [entry]) for entry in ("stud", "studio", "studio.nets:Ne", "studio.nets.")]
        [False, False, False, True]
        >>> is_allowed("os:system", ["o"])
        False
    """
    module = path.partition(":")[0]
    return any(
        f"{module}.".startswith(entry) if entry.endswith(".") else entry in {module, f"{module}:", path}
        for entry in allow
    )


def class_named(path: str, base: type[T], what: str, allow: Sequence[str] | None = None) -> type[T]:
    """Imports a module, from the current folder too, and gives a class of it; nothing is called.

    Args:
        path: ``module:Class``.
        base: what the class has to inherit.
        what: begins a message, such as ``Backbone``.
        allow: where the name was read from a file of somebody else, what its reader allows (`is_allowed`).

    Raises:
        ValueError: for a name that is not allowed, before anything is imported; one that cannot be imported; and one of
            something else than such a class.
    """
    if not _PATH.fullmatch(path):
        raise ValueError(f"{what} {path!r} is no name of a class; give it as 'package.module:Class'.")
    if allow is not None and not is_allowed(path, allow):
        raise ValueError(
            f"{what} {path!r} is not imported, since it is not allowed; allow it: allow=({_entry_for(path)!r},)."
        )
    found = _imported(path, what)
    wanted = f"{base.__module__.partition('.')[0]}'s {base.__name__}"
    if not isinstance(found, type) or not issubclass(found, base):
        kind = "a class that does not inherit" if isinstance(found, type) else f"a {type(found).__name__}, no class of"
        raise ValueError(
            f"{what} {path!r} is {kind} {wanted}; name a class, such as one whose constructor calls what you have."
        )
    if allow is not None and not _belongs_to(found, path, allow):
        raise ValueError(
            f"{what} {path!r} is a class of {found.__module__}; allow it too: allow=({found.__module__!r},)."
        )
    return found


def _imported(path: str, what: str) -> Any:
    module, _, name = path.partition(":")
    try:
        with _current_folder():
            found: Any = importlib.import_module(module)
        for part in name.split("."):
            # A class within a class, but nothing that a module has imported.
            found = getattr(found, part) if found is sys.modules[module] or isinstance(found, type) else None
    except Exception as error:  # whatever a module of one's own does when it is imported
        raise ValueError(f"{what} {path!r} cannot be imported: {type(error).__name__}: {error}.") from error
    return found


def _belongs_to(kind: type, path: str, allow: Sequence[str]) -> bool:
    """Whether a class is of the package that its name says, or is allowed under its own; what a module imports is not."""
    same_package = kind.__module__.partition(".")[0] == path.partition(":")[0].partition(".")[0]
    return same_package or is_allowed(f"{kind.__module__}:{kind.__qualname__}", allow)


def _entry_for(path: str) -> str:
    module = path.partition(":")[0]
    return f"{module.partition('.')[0]}." if "." in module else module


@contextmanager
def _current_folder() -> Iterator[None]:
    """Lets modules be found in the current folder too, after all other places."""
    folder = str(Path.cwd())
    if folder in sys.path or "" in sys.path:
        yield
        return
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
