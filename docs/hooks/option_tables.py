"""Every option, from the classes that declare it: type, default, and what its docstring says."""

import ast
import dataclasses
import importlib
import inspect
import itertools
import pkgutil
import re
import textwrap
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal, Union

from vitrine.core.options import Options, Range

ROOMS = ("lightning_modules", "datamodules", "callbacks")
"""Folders whose exported classes are named in configurations."""
OF_EVERY_RUN = (("callbacks.checkpoint", "RunCheckpoint"), ("callbacks.stop_signals", "StopSignals"))
"""What stands under ``checkpoint`` and ``signals`` of a configuration."""


def options_of(part: str) -> str:
    """Markdown: a section for each class of a part of the page of options: a folder's name, ``runs`` or ``options``."""
    if part == "runs":
        kinds = [getattr(importlib.import_module(module), name) for module, name in OF_EVERY_RUN]
    else:
        kinds = option_classes() if part == "options" else exported(part)
    return "\n".join(map(section, kinds))


def exported(room: str) -> list[type]:
    """The classes that a folder exports."""
    module = importlib.import_module(room)
    return [getattr(module, name) for name in module.__all__]


def option_classes() -> list[type]:
    """The dataclasses of options of all modules, by name."""
    for name in ("vitrine", *ROOMS):
        package = importlib.import_module(name)
        for found in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not found.name.endswith("__main__"):
                importlib.import_module(found.name)
    kinds = {kind.__name__: kind for kind in below(Options) if kind.__module__.split(".")[0] in {"vitrine", *ROOMS}}
    return [kinds[name] for name in sorted(kinds)]


def below(kind: type[Any]) -> Iterator[type[Any]]:
    """All classes that inherit another, at any remove."""
    for one in kind.__subclasses__():
        yield one
        yield from below(one)


def section(kind: type) -> str:
    """A class's heading, first sentence, and table of options."""
    rows = [row_of(name, parameter, kind) for name, parameter in parameters(kind).items()]
    table = "\n".join(["| option | takes | default | |", "|---|---|---|---|", *rows]) if rows else "No options."
    return f"### {kind.__name__}\n\n{cell(first_sentence(kind))}\n\n{table}\n"


def parameters(kind: type) -> dict[str, inspect.Parameter]:
    """The options of a class by name: with those of its bases, where it passes further ones on."""
    found: dict[str, inspect.Parameter] = {}
    passes_on = True
    for base in kind.__mro__ if not dataclasses.is_dataclass(kind) else (kind,):
        if not passes_on or "__init__" not in vars(base) or base.__module__.split(".")[0] not in {"vitrine", *ROOMS}:
            continue
        own = list(inspect.signature(base.__init__).parameters.values())[1:]  # type: ignore[misc]
        passes_on = any(one.kind is one.VAR_KEYWORD for one in own)
        plain = [one for one in own if one.kind not in {one.VAR_KEYWORD, one.VAR_POSITIONAL}]
        if found:  # a subclass makes the explainers of its base itself
            plain = [one for one in plain if "explainers.base.Explainer" not in str(one.annotation)]
        found |= {one.name: one for one in plain if one.name not in found}
    return found


def row_of(name: str, parameter: inspect.Parameter, kind: type) -> str:
    """A row of the table."""
    default = "needed" if parameter.default is parameter.empty else code(default_text(parameter.default))
    return (
        f"| `{name}` | {code(type_text(parameter.annotation))} | {default} | {cell(documented(kind).get(name, ''))} |"
    )


def documented(kind: type) -> dict[str, str]:
    """What the docstrings of a class and its bases say of each argument."""
    texts: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        block = re.search(
            r"Args:\n(.*?)(?:\n\S|\Z)", inspect.cleandoc(vars(base).get("__doc__") or ""), flags=re.DOTALL
        )
        entries = re.findall(
            r"^    (\w+): (.*?)(?=^    \w+: |\Z)", block[1] if block else "", flags=re.MULTILINE | re.DOTALL
        )
        texts |= {name: " ".join(text.split()) for name, text in entries}
    return texts | of_attributes(kind)


def of_attributes(kind: type) -> dict[str, str]:
    """The docstrings that stand below the fields of a class."""
    if not dataclasses.is_dataclass(kind):
        return {}
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0].body  # type: ignore[attr-defined]
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and is_docstring(text)
    }


def is_docstring(node: ast.stmt) -> bool:
    """Whether a statement is a text alone."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def type_text(annotation: Any) -> str:
    """A type as a person writes it: choices, ranges in words, names without modules."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        ranges = [repr(one) for one in arguments[1:] if isinstance(one, Range)]
        return ", ".join([type_text(arguments[0]), *ranges])
    if origin is Literal:
        return ", ".join(map(str, arguments))
    if origin in {Union, types.UnionType}:
        return " or ".join(map(type_text, arguments))
    if annotation in {None, type(None)}:
        return "null"
    if origin is not None and arguments:
        inner = ", ".join("…" if one is ... else type_text(one) for one in arguments if not isinstance(one, list))
        return f"{getattr(origin, '__name__', origin)}[{inner}]"
    return getattr(annotation, "__name__", None) or str(annotation).rpartition(".")[2]


def default_text(value: Any) -> str:
    """A default as a configuration has it."""
    if value is None:
        return "null"
    if dataclasses.is_dataclass(value):
        return f"those of {type(value).__name__}"
    if type(value).__name__ == "_HAS_DEFAULT_FACTORY_CLASS":
        return "empty"
    return "a function" if callable(value) else str(value).lower() if isinstance(value, bool) else str(value)


def first_sentence(kind: type) -> str:
    """Of a class's docstring."""
    return " ".join((inspect.cleandoc(vars(kind).get("__doc__") or "").partition("\n\n")[0]).split())


def code(text: str) -> str:
    """Text as code within a table's cell."""
    return f"`{cell(text)}`"


def cell(text: str) -> str:
    """Text within a table's cell."""
    return text.replace("``", "`").replace("|", r"\|")
