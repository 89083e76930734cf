"""Error messages of jsonargparse in one sentence: the key, its value, and what would be right."""

import inspect
import pydoc
import re
from collections.abc import Iterable, Sequence
from textwrap import dedent
from typing import Any

from vitrine.core.near_names import did_you_mean
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
"""Names of types in messages."""
NO_CLASS = re.compile(r"Expected a dot import path string: (.+)|Unexpected import path format: (.+)")


def one_sentence(message: str, classes: Iterable[str] = (), roots: dict[str, type] | None = None) -> str:
    """One sentence for an error message of jsonargparse; messages of no known form are put on one line.

    Args:
        message: the message.
        classes: names of known classes, to suggest one where a class is not found.
        roots: by outermost key, the class whose parameters it holds.
    """
    return _Reader(list(classes), roots or {}).read(message, "").strip()


def accepted_keys(cls: type, path: Iterable[str] = ()) -> list[str]:
    """Names of the parameters of a class, or of the class of its parameter at ``path``, with those of its bases."""
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
        """The sentence for a message about ``key``."""
        text = dedent(message).strip()
        if match := re.match(r'Parser key "([\w.]+)":(.*)', text, re.DOTALL):
            return self.read(match[2], f"{key}.init_args.{match[1]}" if key else match[1])
        if match := re.match(r"Problem with given class_path '([\w.]+)':\n(.*)", text, re.DOTALL):
            return self._in_class(match[1], dedent(match[2]), key)
        if match := UNION.search(text):
            return self._alternatives(dedent(match["errors"]), match["value"], key)
        if match := UNKNOWN_KEY.match(text):
            return self._unknown(match[1] or match[2] or match[4], key, match[3] or "", None)
        if match := NO_CLASS.match(text):
            return self._no_class(match[1] or match[2], key)
        if match := re.fullmatch(r"Expected an? (.+?)\. Got value: (.*)", text, re.DOTALL):
            return _wrong_value(key, match[2], [match[1]])
        if match := re.match(r"Invalid content in sub-config file (\S+): (.*)", text, re.DOTALL):
            return f"{key}: {match[1]} is not valid YAML: {_flat(match[2])}."
        if match := re.search(r"Interpolation key '\.*(\S+)' not found.*full_key: \w+\.(\S+)", text, re.DOTALL):
            return f"{match[2]}: ${{…}} names {match[1]!r}, which is no key of this configuration."
        return f"{key}: {_flat(text)}" if key else _flat(text)

    def _alternatives(self, errors: str, value: str, key: str) -> str:
        """One reason why a value is of none of several types: the first one that is about more than the type itself."""
        reasons = [reason.removeprefix("- ") for reason in re.split(r"\n(?=- )", errors)]
        kinds = [
            match[1]
            for reason in reasons
            if (match := re.fullmatch(r"Expected an? (.+?)(?:\. Got value: .*)?", reason))
        ]
        deeper = [
            r for r in reasons if not re.match(r"Expected an? (<|typing\.|collections\.)|Not a valid subclass", r)
        ]
        return self.read(deeper[0], key) if deeper else _wrong_value(key, value, kinds)

    def _in_class(self, class_path: str, text: str, key: str) -> str:
        cls: Any = pydoc.locate(class_path)
        if not isinstance(cls, type):
            return self._no_class(class_path, key)
        if match := UNKNOWN_KEY.match(text):
            return self._unknown(match[1] or match[2] or match[4], f"{key}.init_args", match[3] or "", cls)
        return self.read(text, key)

    def _unknown(self, name: str, key: str, group: str, cls: type | None) -> str:
        """A sentence for an unknown key; ``group`` is the leading part of it that jsonargparse reports separately."""
        parts = name.split(".")
        if cls is not None and group:
            parts = [group, *parts]
        if cls is not None and (path := _moved(cls, parts)) != ".".join(parts):
            earlier, today = ".".join([key, *parts]), f"{key}.{path}"
            return f"there is no key {earlier} of {cls.__name__}; it is {today} now."
        if cls is None and parts[0] in self.roots:
            suggestion = did_you_mean(parts[-1], accepted_keys(self.roots[parts[0]], parts[1:-1]))
        else:
            suggestion = did_you_mean(parts[-1], accepted_keys(cls, parts[:-1])) if cls else ""
            suggestion = suggestion or (_near_option(name, cls) if cls else "")
        whole = ".".join([key, *parts] if key else parts)
        return f"there is no key {whole}{f' of {cls.__name__}' if cls else ''}{suggestion or '.'}"

    def _no_class(self, name: str, key: str) -> str:
        what = "file or class" if "/" in name or name.endswith((".yaml", ".yml")) else "class"
        return f"{key}: there is no {what} named {name!r}{did_you_mean(name.rpartition('.')[2], self.classes) or '.'}"


def _moved(cls: type, parts: Sequence[str]) -> str:
    """Where a key stands today: the longest beginning of it that has moved, with the rest as it was."""
    for count in range(len(parts), 0, -1):
        name = ".".join(parts[:count])
        if (path := option_path(cls, name)) != name:
            return ".".join([path, *parts[count:]])
    return ".".join(parts)


def _wrong_value(key: str, value: str, kinds: list[str]) -> str:
    expected = " or ".join(dict.fromkeys(_kind(kind) for kind in kinds))
    shown = "null" if value == "None" else repr(_flat(value))
    return f"{key} is {shown}; give {expected}."


def _kind(kind: str) -> str:
    """A type as users write it: ``a whole number``, ``null``, ``'exact' or 'sgd'``."""
    if match := re.fullmatch(r"typing\.Literal\[(.*)\]", kind):
        return match[1].replace(", ", " or ")
    name = re.sub(r"<(?:class|enum) '(?:[\w.]*\.)?(\w+)'>", r"\1", kind)
    return WORDS.get(name, name)


def _near_option(wrong: str, cls: type) -> str:
    """As `did_you_mean`, among the fields of the option dataclasses that a class takes."""
    paths = {
        field: f"{parameter}.{field}"
        for parameter, hint in parameter_types(cls).items()
        if isinstance(hint, type) and issubclass(hint, Options)
        for field in accepted_keys(hint)
    }
    close = [path for field, path in paths.items() if did_you_mean(wrong, [field])]
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _flat(text: str) -> str:
    return " ".join(text.replace('in "<unicode string>", ', "at ").split())
