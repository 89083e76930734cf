"""Attribution methods by their names."""

import difflib
import inspect

from vitrine import attribution
from vitrine.attribution.base import Method


def method_names() -> list[str]:
    """Names of the attribution methods that this package exports."""
    exported = ((name, getattr(attribution, name)) for name in attribution.__all__)
    return sorted(name for name, value in exported if _is_method(value))


def method_named(name: str) -> type[Method]:
    """An attribution method's class.

    Raises:
        ValueError: for an unknown name, with the nearest ones.
    """
    known = method_names()
    if name not in known:
        near = difflib.get_close_matches(name, known) or known
        raise ValueError(f"There is no attribution method named {name!r}; near names: {', '.join(near)}.")
    method: type[Method] = getattr(attribution, name)
    return method


def _is_method(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, Method) and not inspect.isabstract(value)
