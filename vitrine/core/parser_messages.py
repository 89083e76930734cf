"""Command-line errors in one sentence: the key, the value given, and what would be right."""

import difflib
import inspect
import pydoc
import re
from collections.abc import Iterable
from textwrap import dedent
from typing import Any

from vitrine.core.options import Options, option_path, parameter_types

UNION = re.compile(
    r"Does not validate against any of the Union subtypes\n.*?^(?P<i> *)Errors:\n(?P<errors>.*?)\n(?P=i)Given value type:"
    r"[^\n]*\n(?P=i)Given value: (?P<value>.*)",
    re.DOTALL | re.MULTILINE,
)
UNKNOWN_KEY = re.compile(
    r"Option '(\S+)' is not accepted|unrecognized arguments: --([\w.]+)|(?:Subcommand|Group) '(\w+)' does not accept option"
    r" '(\S+)'"
)
WORDS = {
    "NoneType": "null",
    "Sequence": "a list",
    "Iterable": "a list",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
}
"""What types are called in messages."""
NO_CLASS = re.compile(r"Expected a dot import path string: (.+)|Unexpected import path format: (.+)")


def one_sentence(message: str, classes: Iterable[str] = (), roots: dict[str, type] | None = None) -> str:
    """The sentence for a parser's message; the message itself, on one line, where it is of no known form.

    Args:
        message: what the parser says.
        classes: names of classes that may be meant where one is not found.
        roots: the classes whose parameters the outermost keys hold.
    """
    return _Reader(list(classes), roots or {}).read(message, "").strip()


def accepted_keys(cls: type, path: Iterable[str] = ()) -> list[str]:
    """Parameters that a class takes, with those that it passes on to its bases; of the class of the one at ``path``."""
    for name in path:
        cls = parameter_types(cls).get(name, object)
    names: dict[str, None] = {}
    for base in inspect.getmro(cls)[:-1]:
        parameters = inspect.signature(base.__init__).parameters.values()  # type: ignore[misc]
        names |= {
            p.name: None for p in parameters if p.name != "self" and p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}
        }
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break
    return list(names)


class _Reader:
    def __init__(self, classes: list[str], roots: dict[str, type]) -> None:
        self.classes, self.roots = classes, roots

    def read(self, message: str, key: str) -> str:  # noqa: PLR0911 - one for each form
        """The sentence for a message about what stands under ``key``."""
        text = dedent(message).strip()
        if found := re.match(r'Parser key "([\w.]+)":(.*)', text, re.DOTALL):
            return self.read(found[2], f"{key}.init_args.{found[1]}" if key else found[1])
        if found := re.match(r"Problem with given class_path '([\w.]+)':\n(.*)", text, re.DOTALL):
            return self._in_class(found[1], dedent(found[2]), key)
        if found := UNION.search(text):
            return self._alternatives(dedent(found["errors"]), found["value"], key)
        if found := UNKNOWN_KEY.match(text):
            return self._unknown(found[1] or found[2] or found[4], key, found[3] or "", None)
        if found := NO_CLASS.match(text):
            return self._no_class(found[1] or found[2], key)
        if found := re.fullmatch(r"Expected an? (.+?)\. Got value: (.*)", text, re.DOTALL):
            return _wrong_value(key, found[2], [found[1]])
        if found := re.match(r"Invalid content in sub-config file (\S+): (.*)", text, re.DOTALL):
            return f"{key}: {found[1]} is not valid YAML: {_flat(found[2])}."
        if found := re.search(r"Interpolation key '\.*(\S+)' not found.*full_key: \w+\.(\S+)", text, re.DOTALL):
            return f"{found[2]}: ${{…}} names {found[1]!r}, which is no key of this configuration."
        return f"{key}: {_flat(text)}" if key else _flat(text)

    def _alternatives(self, errors: str, value: str, key: str) -> str:
        """One of the reasons why a value is none of several types: the first that goes deeper than its type."""
        reasons = [reason.removeprefix("- ") for reason in re.split(r"\n(?=- )", errors)]
        kinds = [
            found[1]
            for reason in reasons
            if (found := re.fullmatch(r"Expected an? (.+?)(?:\. Got value: .*)?", reason))
        ]
        deeper = [
            r for r in reasons if not re.match(r"Expected an? (<|typing\.|collections\.)|Not a valid subclass", r)
        ]
        return self.read(deeper[0], key) if deeper else _wrong_value(key, value, kinds)

    def _in_class(self, class_path: str, text: str, key: str) -> str:
        cls: Any = pydoc.locate(class_path)
        if not isinstance(cls, type):
            return self._no_class(class_path, key)
        if found := UNKNOWN_KEY.match(text):
            return self._unknown(found[1] or found[2] or found[4], f"{key}.init_args", found[3] or "", cls)
        return self.read(text, key)

    def _unknown(self, name: str, key: str, group: str, cls: type | None) -> str:
        """A sentence for a key that is not there; ``group`` is the part of it that jsonargparse names apart."""
        parts = name.split(".")
        if cls is not None and group:
            parts = [group, *parts]
        if cls is not None and (path := option_path(cls, parts[0])) != parts[0]:
            earlier, today = ".".join([key, *parts]), ".".join([key, path, *parts[1:]])
            return f"there is no key {earlier} of {cls.__name__}; it is {today} now."
        if cls is None and parts[0] in self.roots:
            near = _near(parts[-1], accepted_keys(self.roots[parts[0]], parts[1:-1]))
        else:
            near = _near(parts[-1], accepted_keys(cls, parts[:-1])) if cls else ""
            near = near or (_near_option(name, cls) if cls else "")
        whole = ".".join([key, *parts] if key else parts)
        return f"there is no key {whole}{f' of {cls.__name__}' if cls else ''}{near or '.'}"

    def _no_class(self, name: str, key: str) -> str:
        what = "file or class" if "/" in name or name.endswith((".yaml", ".yml")) else "class"
        return f"{key}: there is no {what} named {name!r}{_near(name.rpartition('.')[2], self.classes) or '.'}"


def _wrong_value(key: str, value: str, kinds: list[str]) -> str:
    wanted = " or ".join(dict.fromkeys(_kind(kind) for kind in kinds))
    shown = "null" if value == "None" else repr(_flat(value))
    return f"{key} is {shown}; give {wanted}."


def _kind(kind: str) -> str:
    """A type as a user writes it: ``a whole number``, ``null``, ``'exact' or 'sgd'``."""
    if found := re.fullmatch(r"typing\.Literal\[(.*)\]", kind):
        return found[1].replace(", ", " or ")
    name = re.sub(r"<(?:class|enum) '(?:[\w.]*\.)?(\w+)'>", r"\1", kind)
    return WORDS.get(name, name)


def _near(wrong: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(wrong, list(names), n=3)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _near_option(wrong: str, cls: type) -> str:
    """As `_near`, among the fields of the dataclasses of options that a class takes."""
    paths = {
        field: f"{parameter}.{field}"
        for parameter, hint in parameter_types(cls).items()
        if isinstance(hint, type) and issubclass(hint, Options)
        for field in accepted_keys(hint)
    }
    near = difflib.get_close_matches(wrong, list(paths), n=3)
    return f"; did you mean {' or '.join(paths[name] for name in near)}?" if near else ""


def _flat(text: str) -> str:
    return " ".join(text.replace('in "<unicode string>", ', "at ").split())
