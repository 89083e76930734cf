"""Classes named as ``module:Class`` or ``file.py:Class``: whether one may be imported, and the class itself."""

import importlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from vitrine.core.class_files import DOTTED, class_in_file, file_of, folder_searched, module_of_file
from vitrine.core.near_names import did_you_mean

T = TypeVar("T")

_PATH = re.compile(f"{DOTTED}:{DOTTED}")
_ALLOWED = re.compile(rf"{DOTTED}(?:\.|:|:{DOTTED})?")


def allowed_entries(allow: str | Iterable[str]) -> tuple[str, ...]:
    """What a caller allows, checked; one text stands for a list of it alone.

    Raises:
        ValueError: for an entry that is neither a package, a module nor a class, such as ``""``, which would allow all.
    """
    entries = (allow,) if isinstance(allow, str) else tuple(allow)
    for entry in entries:
        if not isinstance(entry, str) or not (_ALLOWED.fullmatch(entry) or file_of(entry)):
            raise ValueError(
                f"allow holds {entry!r}; give 'my_package.' for all of a package, 'my_package.networks' for one module,"
                " 'my_package.networks:MyNet' for one class, or 'model.py' for a file."
            )
    return entries


def is_allowed(path: str, allow: Sequence[str]) -> bool:
    """Whether a class is allowed, by its name alone.

    Args:
        path: ``module:Class``, or ``file.py:Class``.
        allow: ``package.`` for the package and all in it, ``module`` or ``module:`` for the classes of this module alone, or
            ``module:Class``; ``file.py`` or ``file.py:Class`` for those of a file, which has to be the same one.

    Example:
        >>> [is_allowed("studio.nets:Net", [entry]) for entry in ("studio.", "studio.nets", "studio.nets:Net")]
        [True, True, True]
        >>> [is_allowed("studio.nets:Net", [entry]) for entry in ("stud", "studio", "studio.nets:Ne", "studio.nets.")]
        [False, False, False, True]
        >>> is_allowed("os:system", ["o"])
        False
    """
    file = file_of(path)
    if file is not None:
        return any(file_of(one) == file and class_in_file(one) in {"", class_in_file(path)} for one in allow)
    module = path.partition(":")[0]
    return any(
        f"{module}.".startswith(entry) if entry.endswith(".") else entry in {module, f"{module}:", path}
        for entry in allow
    )


def class_named(path: str, base: type[T], what: str, allow: Sequence[str] | None = None) -> type[T]:
    """Imports a module, from the current folder too, and gives a class of it; nothing is called.

    Args:
        path: ``module:Class``, or ``file.py:Class`` with a path from the current folder or an absolute one.
        base: what the class has to inherit.
        what: begins a message, such as ``Backbone``.
        allow: where the name was read from a file of somebody else, what its reader allows (`is_allowed`).

    Raises:
        ValueError: for a name that is not allowed, before anything is imported; one that cannot be imported; and one of
            something else than such a class.
        FileNotFoundError: for a file that does not exist.
    """
    if not (class_in_file(path) or _PATH.fullmatch(path)):
        raise ValueError(
            f"{what} {path!r} is no name of a class; give it as 'package.module:Class', or as 'file.py:Class'."
        )
    if allow is not None and not is_allowed(path, allow):
        entry = entry_for(path, whole_package=True)
        raise ValueError(f"{what} {path!r} is not imported, since it is not allowed; allow it: allow=({entry!r},).")
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
    file = file_of(path)
    try:
        module = _module(path) if file is None else module_of_file(file)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{what} {path!r}: {error}") from error
    except Exception as error:  # whatever a module of one's own does when it is imported
        raise ValueError(f"{what} {path!r} cannot be imported: {type(error).__name__}: {error}.") from error
    return _member(module, path.rpartition(":")[2], f"{what} {path!r}")


def _module(path: str) -> ModuleType:
    with folder_searched(Path.cwd()):
        return importlib.import_module(path.partition(":")[0])


def _member(module: ModuleType, name: str, told: str) -> Any:
    """A class of a module, or a class within a class, but nothing of what a module has imported."""
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part) or not (found is module or isinstance(found, type)):
            known = [key for key, value in vars(module).items() if isinstance(value, type)]
            raise ValueError(
                f"{told} cannot be imported: {module.__name__} has no class {name}{did_you_mean(name, known) or '.'}"
            )
        found = getattr(found, part)
    return found


def _belongs_to(kind: type, path: str, allow: Sequence[str]) -> bool:
    """Whether a class is of the package that its name says, or is allowed under its own; what a module imports is not."""
    file = file_of(path)
    if file is not None:
        same = kind.__module__ == module_of_file(file).__name__
    else:
        same = kind.__module__.partition(".")[0] == path.partition(":")[0].partition(".")[0]
    return same or is_allowed(f"{kind.__module__}:{kind.__qualname__}", allow)


def entry_for(path: str, *, whole_package: bool = False) -> str:
    """What to allow for a class: its file, its module, or all of its package."""
    file = file_of(path)
    if file is not None:
        return str(file)
    module = path.partition(":")[0]
    return f"{module.partition('.')[0]}." if whole_package and "." in module else module
