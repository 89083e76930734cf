"""Interpolations of a configuration, kept as text where their values come from outside of it, such as ``${oc.env:TOKEN}``."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import yaml
from omegaconf import OmegaConf

_RESOLVER = re.compile(r"\$\{\s*[\w.]+\s*:")
_MARK = "<<the value of a resolver>>"

Path = tuple[str | int, ...]
"""Keys, and places in lists, from the root of a configuration."""


def with_interpolations(resolved: str, unresolved: str, below: Path = ()) -> str:
    """A configuration in which values that come from a resolver, directly or through other keys, are interpolations again.

    What a resolver gives, such as the value of an environment variable, may be a secret, and is another one elsewhere.

    Args:
        resolved: the configuration as YAML or JSON text.
        unresolved: the same before its interpolations were resolved, or what holds it.
        below: where ``unresolved`` holds it.

    Example:
        >>> raw = "{token: '${oc.env:TOKEN}', copy: '${token}', size: '${other}', other: 3}"
        >>> print(with_interpolations("{token: secret, copy: secret, size: 3, other: 3}", raw))
        token: ${oc.env:TOKEN}
        copy: ${token}
        size: 3
        other: 3
        <BLANKLINE>
    """
    kept = _from_resolvers(unresolved)
    if not kept:
        return resolved
    from_json = _from_json(resolved)
    values = yaml.safe_load(resolved) if from_json is None else from_json
    for path, text in kept.items():
        if path[: len(below)] == below:
            _put(values, path[len(below) :], text)
    is_yaml = from_json is None
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True) if is_yaml else json.dumps(values, indent=2)


def _from_resolvers(unresolved: str) -> dict[Path, str]:
    """The interpolations whose values depend on a resolver, by their places."""
    raw: Any = OmegaConf.to_container(OmegaConf.create(unresolved), resolve=False)
    if not _RESOLVER.search(unresolved):
        return {}
    marked = _mapped(raw, lambda text: _MARK if _RESOLVER.search(text) else text)
    values: Any = OmegaConf.to_container(OmegaConf.create(marked), resolve=True)
    interpolations = {path: text for path, text in _texts(raw) if "${" in text}
    return {path: text for path, text in interpolations.items() if _MARK in str(_at(values, path))}


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {key: _mapped(entry, change) for key, entry in value.items()}
    if isinstance(value, list):
        return [_mapped(entry, change) for entry in value]
    return change(value) if isinstance(value, str) else value


def _texts(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield from _texts(entry, (*path, key))


def _at(value: Any, path: Path) -> Any:
    for key in path:
        value = value[key]
    return value


def _put(values: Any, path: Path, text: str) -> None:
    """Sets a value that is there; keys that are left out of a configuration stay out."""
    *above, last = path
    try:
        place = _at(values, tuple(above))
        _ = place[last]
    except (KeyError, IndexError, TypeError):
        return
    place[last] = text


def _from_json(text: str) -> Any:
    """The value of a JSON text, whose numbers YAML may take for texts; None for another text."""
    try:
        return json.loads(text)
    except ValueError:
        return None
