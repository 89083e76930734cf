"""JSON and XML documents of data sets, parsed within bounds: whatever is wrong with one is a sentence."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

MAX_DOCUMENT_BYTES = 256 * 2**20
"""Of a JSON or XML file; the index of a set of ten million images stays below that."""


def parse_json(data: bytes | str, name: str, *, repeats: bool = False) -> Any:
    """The value that a JSON document holds.

    Stricter than Python's own reader: NaN and Infinity, which are no JSON, are refused, and so are entries that stand twice
    in one object, of which a reader would take either.

    Args:
        data: text, or bytes in UTF-8 with or without a byte order mark.
        name: that the message starts with.
        repeats: whether entries may stand twice, as in files of other people; the last one counts.

    Raises:
        ValueError: where it is none, or too deep or too large.

    Example:
        >>> parse_json(b'{"label": 3}', "a.json")
        {'label': 3}
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        raise ValueError(f"{name} is larger than {MAX_DOCUMENT_BYTES // 2**20} MiB")
    try:
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
        return (_LENIENT if repeats else _STRICT).decode(text)
    except RecursionError:
        raise ValueError(f"{name} is no JSON that can be read (it is nested too deep)") from None
    except ValueError as error:
        raise ValueError(f"{name} is not JSON ({error})") from None


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is no number")


def unique_entries(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The entries of a JSON object, for ``object_pairs_hook``; ValueError where one stands twice."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands twice in one object")
    return entries


_STRICT = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=unique_entries)
_LENIENT = json.JSONDecoder(parse_constant=_no_constant, strict=False)


class _NoDoctype(ET.TreeBuilder):
    """Refuses declarations of entities before any is expanded: annotation files have none."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:  # noqa: ARG002
        raise ValueError("it declares a document type, which no annotation needs")


def read_xml(path: Path, remedy: str) -> ET.Element:
    """The root of an XML file.

    Args:
        path: of the file.
        remedy: what the reader of the message is to do, as a clause.

    Raises:
        FileNotFoundError: where the file is absent, or is none.
        ValueError: where it is broken, declares entities, or is too large.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} {'is no file' if path.exists() else 'does not exist'}: {remedy}.")
    if path.stat().st_size > MAX_DOCUMENT_BYTES:
        raise ValueError(f"{path} is larger than {MAX_DOCUMENT_BYTES // 2**20} MiB, so it is no annotation: {remedy}.")
    try:
        parser = ET.XMLParser(target=_NoDoctype())  # noqa: S314 - a document type, which entities need, is refused
        return ET.parse(path, parser).getroot()  # noqa: S314
    except (ET.ParseError, ValueError, LookupError, RecursionError) as error:
        raise ValueError(f"{path} is broken XML ({error}): {remedy}.") from None
