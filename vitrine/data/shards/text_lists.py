"""Text lists of data sets: their lines with numbers, in any encoding with a byte order mark and with any line ends."""

import codecs
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""The mark of UTF-16 begins that of UTF-32, which is looked for first."""


class Line(NamedTuple):
    """A line of a text list."""

    path: Path
    number: int
    """From 1."""
    text: str
    """Without blanks at both ends; never empty."""

    @property
    def place(self) -> str:
        """How messages name it."""
        return f"{self.path}, line {self.number},"


def read_lines(path: Path, remedy: str) -> Iterator[Line]:
    """The lines of a text file that are not blank.

    Args:
        path: of the file, in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.
        remedy: what to do where there is no such file, as a clause.

    Raises:
        FileNotFoundError: where it is absent, or no file.
        ValueError: for bytes that are no text in that encoding, and for zeros.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} {'is no file' if path.exists() else 'does not exist'}: {remedy}.")
    for number, text in enumerate(re.split(r"\r\n|\r|\n", _decoded(path)), start=1):
        if "\0" in text:
            raise ValueError(f"{path}, line {number}, holds a zero byte, so it is no text: save the list as UTF-8.")
        if stripped := text.strip():
            yield Line(path, number, stripped)


def _decoded(path: Path) -> str:
    data = path.read_bytes()
    encoding = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        number = len(re.findall(rb"\r\n|\r|\n", data[: error.start])) + 1
        raise ValueError(
            f"{path}, line {number}, is no {encoding.upper().removesuffix('-SIG')} (byte {data[error.start]:#04x}):"
            " save the list as UTF-8."
        ) from None


def relative_name(text: str, line: Line) -> str:
    """A file's path below a folder, as a list names it.

    Raises:
        ValueError: for an absolute path, and one that leaves the folder.

    Example:
        >>> relative_name("./dog/a.jpg", Line(Path("images.txt"), 3, "./dog/a.jpg"))
        'dog/a.jpg'
    """
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"{line.place} names {text!r}, which is no path below the folder of the images: correct it.")
    return str(path)


def read_numbers(fields: Sequence[str], line: Line, told: str) -> list[float]:
    """The finite numbers that fields of a line hold.

    Args:
        fields: the numbers.
        line: where they stand.
        told: how messages name the fields.

    Raises:
        ValueError: where one is none.
    """
    try:
        numbers = [float(field) for field in fields]
    except ValueError:
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{line.place} has {told}, which are no numbers: correct it.")
    return numbers


def read_index(text: str, below: int | None, line: Line, of: str = "") -> int:
    """A whole number of 0 or more.

    Args:
        text: the number's digits.
        below: that it has to be below, if anything.
        line: where it stands.
        of: what it is of, for the message.

    Raises:
        ValueError: for anything else.
    """
    if not re.fullmatch(r"[0-9]{1,18}", text) or (below is not None and int(text) >= below):
        wanted = "whole number of 0 or more" if below is None else f"whole number from 0 to {below - 1}"
        raise ValueError(f"{line.place} has {text!r}{of and f' for {of}'}, which is no {wanted}: correct it.")
    return int(text)
