"""Every error sentence of the project, read from the source, with placeholders for values."""

import ast
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

PLACES = ("vitrine", "lightning_modules", "datamodules", "callbacks", "train.py")
OPTION_ERROR = "OptionError"
"""Whose arguments are an option's name, its value, and what would be right."""


class Sentence(NamedTuple):
    """An error sentence."""

    module: str
    kind: str
    """Name of the error's class."""
    text: str
    """With ‹placeholders› for values."""


def sentences(root: Path) -> list[Sentence]:
    """The sentences of all errors that are made in the project, by module."""
    return [one for path in source_files(root) for one in sentences_of(path, path.relative_to(root).as_posix())]


def source_files(root: Path) -> list[Path]:
    """The modules of the project, in the order of their paths."""
    files = [root / place for place in PLACES if place.endswith(".py")]
    return [path for place in PLACES for path in sorted((root / place).rglob("*.py"))] + files


def sentences_of(path: Path, module: str) -> Iterator[Sentence]:
    """The sentences of a module's errors: of every call of a class whose name ends in Error."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        kind = node.func.id if isinstance(node.func, ast.Name) else ""
        if kind == OPTION_ERROR and len(node.args) == 3:
            name, value, wanted = map(text_of, node.args)
            yield Sentence(module, kind, f"{name} is {value}; give {wanted}.")
        elif kind.endswith("Error") and is_text(node.args[0]):
            yield Sentence(module, kind, text_of(node.args[0]))


def is_text(node: ast.expr) -> bool:
    """Whether an argument is a sentence, rather than another error or a variable."""
    if isinstance(node, ast.BinOp):
        return is_text(node.left) or is_text(node.right)
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def text_of(node: ast.expr) -> str:
    """The text of an expression, with ‹placeholders› where it depends on values."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(text_of, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return text_of(node.left) + text_of(node.right)
    return f"‹{placeholder(node.value if isinstance(node, ast.FormattedValue) else node)}›"


def placeholder(node: ast.expr) -> str:
    """A word or two for a value: the last name within its expression that is no function's."""
    called = {id(one.func) for one in ast.walk(node) if isinstance(one, ast.Call)}
    names = [
        one.attr if isinstance(one, ast.Attribute) else one.id
        for one in ast.walk(node)
        if isinstance(one, ast.Attribute | ast.Name) and id(one) not in called
    ]
    words = [name.strip("_").replace("_", " ") for name in names if name not in {"self", "cls"}]
    return words[0] if words else "…"


def errors_page(root: Path) -> str:
    """Markdown: the sentences of each module under its name."""
    parts: dict[str, list[str]] = {}
    for one in sentences(root):
        line = f"- {escape(one.text, quote=False)} <small>{one.kind}</small>"
        parts.setdefault(one.module, []).append(
            " ".join(line.replace("`", "'").replace("*", r"\*").replace("_", r"\_").split())
        )
    return "\n".join(f"### `{module}`\n\n" + "\n".join(dict.fromkeys(lines)) + "\n" for module, lines in parts.items())
